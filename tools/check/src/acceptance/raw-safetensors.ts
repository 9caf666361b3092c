import { readFile, writeFile } from "node:fs/promises";

/** One entry of a safetensors header as it is written, true or not. */
export interface RawEntry {
  dtype: string;
  shape: number[];
  data_offsets: [number, number];
}

/** A safetensors file taken apart, so that it can be put together wrongly. */
export interface RawSafetensors {
  header: Record<string, RawEntry>;
  data: Buffer;
  /** Written instead of the header's true length. */
  headerLength?: bigint;
}

/** Takes a safetensors file apart; `__metadata__` is left out. */
export async function readRaw(path: string): Promise<RawSafetensors> {
  const bytes = await readFile(path);
  const start = 8 + Number(bytes.readBigUInt64LE(0));
  const { __metadata__: _, ...header } = JSON.parse(bytes.toString("utf8", 8, start)) as Record<string, RawEntry>;
  return { header, data: bytes.subarray(start) };
}

/** Puts a safetensors file together without any check. */
export function rawBytes({ header, data, headerLength }: RawSafetensors): Buffer {
  const text = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(headerLength ?? BigInt(text.length));
  return Buffer.concat([length, text, data]);
}

/** Rewrites a safetensors file with what `spoil` makes of its parts. */
export async function rewriteRaw(path: string, spoil: (file: RawSafetensors) => void): Promise<void> {
  const file = await readRaw(path);
  spoil(file);
  await writeFile(path, rawBytes(file));
}

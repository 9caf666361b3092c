import { stat } from "node:fs/promises";
import { join } from "node:path";
import { internal } from "@mistral-sae/rpc";
import { atomicWriteFile } from "@mistral-sae/tensor";

/** Files of a shard of an export. */
export interface Written {
  readonly files: readonly string[];
  readonly bytes: number;
}

/** Writes files below a folder, each whole or not at all. */
export async function writeFiles(folder: string, files: readonly (readonly [string, Uint8Array])[]): Promise<Written> {
  let bytes = 0;
  for (const [file, content] of files) {
    const path = join(folder, file);
    await atomicWriteFile(path, content);
    bytes += (await stat(path)).size;
  }
  return { files: files.map(([file]) => file), bytes };
}

/** JSON of a row. JSON has no NaN, and importers would take the null that stands for one. @throws RpcError INTERNAL for such a number. */
export function finiteJson(row: unknown): string {
  const finite = (key: string, value: unknown): unknown => {
    if (typeof value === "number" && !Number.isFinite(value)) throw internal("NOT_FINITE", `${key} is ${value}, wanted a finite number: the index is damaged, build it anew`);
    return value;
  };
  return JSON.stringify(row, finite);
}

/** One JSON object a line. */
export function jsonLines(rows: readonly unknown[]): string {
  return rows.map((row) => `${finiteJson(row)}\n`).join("");
}

/** What an export came to. */
export function exported(uri: string, written: readonly Written[]): { readonly uri: string; readonly fileNames: string[]; readonly sizeBytes: bigint } {
  return { uri, fileNames: written.flatMap(({ files }) => files), sizeBytes: BigInt(written.reduce((sum, { bytes }) => sum + bytes, 0)) };
}

import { createReadStream } from "node:fs";
import { PassThrough, Readable, type Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { constants, createGunzip, createZstdDecompress } from "node:zlib";
import { InputError } from "@mistral-sae/tensor";
import type { Packing } from "./file-format.ts";
import { zstdFrames } from "./zstd-frames.ts";

const CHUNK = 1 << 20;
/** `zstd --long=31` makes windows of 2 GiB; the default limit of 128 MiB refuses them. */
const WINDOW_LOG_MAX = 31;

/**
 * The unpacked bytes of a file in pieces of about a MiB.
 * @throws InputError when a packed file is cut short or damaged.
 */
export async function* readBytes(file: string, packing: Packing): AsyncIterable<Uint8Array> {
  const raw = createReadStream(file, { highWaterMark: CHUNK });
  try {
    if (packing === "none") yield* raw;
    else if (packing === "gzip") yield* through(raw, createGunzip({ chunkSize: CHUNK }), file);
    else for await (const frame of zstdFrames(raw, file)) yield* through(frame, zstd(), file);
  } finally {
    raw.destroy();
  }
}

function zstd(): Transform {
  return createZstdDecompress({ chunkSize: CHUNK, params: { [constants.ZSTD_d_windowLogMax]: WINDOW_LOG_MAX } });
}

async function* through(source: AsyncIterable<Uint8Array>, unpacker: Transform, file: string): AsyncIterable<Uint8Array> {
  const unpacked = new PassThrough({ highWaterMark: CHUNK });
  const ended = new AbortController();
  // A zlib stream may raise a second error after the one that ended the pipeline.
  unpacker.on("error", () => undefined);
  unpacked.on("error", () => undefined);
  const flow = pipeline(Readable.from(source, { objectMode: false }), unpacker, unpacked, { signal: ended.signal });
  flow.catch(() => undefined);
  try {
    yield* unpacked as AsyncIterable<Uint8Array>;
    await flow;
  } catch (error) {
    throw explain(error, file);
  } finally {
    ended.abort();
  }
}

function explain(error: unknown, file: string): unknown {
  if (error instanceof InputError || !(error instanceof Error) || !("code" in error)) return error;
  const code = String(error.code);
  if (!code.startsWith("Z_") && !code.startsWith("ZSTD_")) return error;
  const got = code === "Z_BUF_ERROR" ? "the file is cut short" : error.message;
  return new InputError(`${file} cannot be unpacked: ${got}`, { file, field: "contents", got, wanted: "a whole packed file" });
}

import { createHash } from "node:crypto";
import { openSync, readSync, writeSync } from "node:fs";
import { parentPort, workerData } from "node:worker_threads";
import { bytesOf, f32FromBytes } from "@mistral-sae/tensor";
import { blocksOfRow, bytesOfRow, quantiseRows } from "./blocks.ts";
import type { FileRange, QuantiseJob } from "./plan.ts";

/** What a thread is started with. */
export interface QuantiseThreadData {
  /** File to write into. */
  readonly target: string;
}

/** What a thread is asked: a piece of work, the SHA-256 of a file, or to end. */
export type ThreadRequest = QuantiseJob | { readonly sha256: string } | undefined;

/** A piece of work done, or why not; `digest` is the SHA-256 of the source bytes or of the file. */
export type JobReply = { readonly digest: Uint8Array } | { readonly fault: { readonly file: string; readonly tensor: string; readonly message: string; readonly got: string; readonly wanted: string } } | { readonly error: string };

const port = parentPort;
if (port === null) throw new Error("this file runs in a worker thread");
const { target } = workerData as QuantiseThreadData;
const output = openSync(target, "r+");
const inputs = new Map<string, number>();

// Grown to the largest piece of work and used again for every other.
let sourceBytes = new Uint8Array();
let values = new Float32Array();
let packed = new Uint8Array();
let scales = new Float32Array();

port.on("message", (request: ThreadRequest) => {
  if (request === undefined) {
    port.close();
    return;
  }
  try {
    port.postMessage("sha256" in request ? hash(request.sha256) : run(request));
  } catch (error) {
    port.postMessage({ error: error instanceof Error ? error.message : String(error) } satisfies JobReply);
  }
});

function run({ tensor, from, rows, at }: QuantiseJob): JobReply {
  if (sourceBytes.length < from.length) sourceBytes = new Uint8Array(from.length);
  const bytes = sourceBytes.subarray(0, from.length);
  const missing = read(from, bytes);
  if (missing > 0) return { fault: { file: from.file, tensor, message: `tensor "${tensor}" ends too soon: the file was changed`, got: `${from.length - missing} bytes`, wanted: `${from.length} bytes` } };
  const digest = createHash("sha256").update(bytes).digest();
  if (rows === undefined) {
    write(bytes, at);
    return { digest };
  }
  const { dtype, k, format, scalesAt, interleaved } = rows;
  const count = from.length / (dtype === "F32" ? 4 : 2);
  const n = count / k;
  if (values.length < count) values = new Float32Array(count);
  const packedBytes = n * bytesOfRow(k, format);
  if (packed.length < packedBytes) packed = new Uint8Array(packedBytes);
  const blocks = n * blocksOfRow(k, format.blockSize);
  if (scales.length < blocks) scales = new Float32Array(blocks);
  const floats = f32FromBytes(dtype, bytes, values.subarray(0, count));
  if (interleaved > 0) separatePairs(floats, k, interleaved);
  const bad = quantiseRows(floats, k, format, packed, scales);
  if (bad >= 0) return { fault: { file: from.file, tensor, message: `tensor "${tensor}" holds a value that is not finite`, got: "NaN or an infinity", wanted: "finite weights" } };
  write(packed.subarray(0, packedBytes), at);
  write(bytesOf(scales.subarray(0, blocks)), scalesAt);
  return { digest };
}

function hash(file: string): JobReply {
  const sum = createHash("sha256");
  const bytes = new Uint8Array(4 << 20);
  for (let at = 0, got = -1; got !== 0; at += got) {
    got = readSync(handleOf(file), bytes, 0, bytes.length, at);
    sum.update(bytes.subarray(0, got));
  }
  return { digest: sum.digest() };
}

/** Puts rows [heads, dHead / 2, 2] in the order [heads, 2, dHead / 2]. */
function separatePairs(rows: Float32Array, k: number, dHead: number): void {
  const before = rows.slice();
  for (let head = 0; head < rows.length / k; head += dHead) {
    for (let i = 0; i < dHead; i++) {
      const from = head + i;
      const to = head + (i & 1) * (dHead / 2) + (i >> 1);
      rows.set(before.subarray(from * k, (from + 1) * k), to * k);
    }
  }
}

/** Bytes that the file lacks. */
function read({ file, offset }: FileRange, bytes: Uint8Array): number {
  const handle = handleOf(file);
  for (let done = 0; done < bytes.length; ) {
    const got = readSync(handle, bytes, done, bytes.length - done, offset + done);
    if (got === 0) return bytes.length - done;
    done += got;
  }
  return 0;
}

function handleOf(file: string): number {
  const known = inputs.get(file);
  if (known !== undefined) return known;
  const handle = openSync(file, "r");
  inputs.set(file, handle);
  return handle;
}

function write(bytes: Uint8Array, at: number): void {
  for (let done = 0; done < bytes.length; ) done += writeSync(output, bytes, done, bytes.length - done, at + done);
}

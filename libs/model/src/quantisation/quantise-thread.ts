import { createHash } from "node:crypto";
import { openSync, readSync, writeSync } from "node:fs";
import { parentPort, workerData } from "node:worker_threads";
import { bytesOf, DTYPE_BYTES, InputError } from "@mistral-sae/tensor";
import { toMessage } from "../worker/error-message.ts";
import type { ErrorMessage } from "../worker/protocol.ts";
import { BlockQuantiser } from "./block-quantiser.ts";
import type { FileRange, QuantiseJob } from "./plan.ts";

/** What a thread is started with. */
export interface QuantiseThreadData {
  /** File to write into. */
  readonly target: string;
}

/** What a thread is asked: a piece of work, the SHA-256 of a file, or to end. */
export type ThreadRequest = QuantiseJob | { readonly sha256: string } | undefined;

/** A piece of work done, or why not; `digest` is the SHA-256 of the source bytes or of the file. */
export type JobReply = { readonly digest: Uint8Array } | { readonly error: ErrorMessage };

const port = parentPort;
if (port === null) throw new Error("this file runs in a worker thread");
const { target } = workerData as QuantiseThreadData;
const output = openSync(target, "r+");
const inputs = new Map<string, number>();

const quantiser = new BlockQuantiser();

port.on("message", (request: ThreadRequest) => {
  if (request === undefined) {
    port.close();
    return;
  }
  try {
    port.postMessage("sha256" in request ? hash(request.sha256) : run(request));
  } catch (error) {
    port.postMessage({ error: toMessage(error) } satisfies JobReply);
  }
});

function run({ tensor, from, rows, at }: QuantiseJob): JobReply {
  if (rows === undefined) {
    const bytes = new Uint8Array(from.length);
    read(from, tensor, bytes);
    write(bytes, at);
    return { digest: createHash("sha256").update(bytes).digest() };
  }
  const { dtype, k, format, scalesAt, interleaved } = rows;
  const sum = createHash("sha256");
  const { values, scales, badRow } = quantiser.quantise({ dtype, n: from.length / DTYPE_BYTES[dtype] / k, k, interleaved }, format, (bytes) => {
    read(from, tensor, bytes);
    sum.update(bytes);
  });
  if (badRow >= 0) throw new InputError(`tensor "${tensor}" holds a value that is not finite`, { file: from.file, field: tensor, got: "NaN or an infinity", wanted: "finite weights" });
  write(values, at);
  write(bytesOf(scales), scalesAt);
  return { digest: sum.digest() };
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

function read({ file, offset }: FileRange, tensor: string, bytes: Uint8Array): void {
  const handle = handleOf(file);
  for (let done = 0; done < bytes.length; ) {
    const got = readSync(handle, bytes, done, bytes.length - done, offset + done);
    if (got === 0) throw new InputError(`tensor "${tensor}" ends too soon: the file was changed`, { file, field: tensor, got: `${done} bytes`, wanted: `${bytes.length} bytes` });
    done += got;
  }
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

import { randomBytes } from "node:crypto";
import { copyFile, mkdir, open, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import { InputError, syncFolder } from "@mistral-sae/tensor";
import { graphHead } from "../graph/head-width.ts";
import { readModelSource } from "../graph/model-source.ts";
import type { QuantisedBits } from "./blocks.ts";
import { bitsOf, configFile, quantisationJson, weightsFile, type Quantisation, type QuantisedPrecision } from "./format.ts";
import { moduleNames } from "./modules.ts";
import { planQuantisation } from "./plan.ts";
import { runJobs } from "./quantise-team.ts";

/** How a model is quantised. */
export interface QuantiseOptions {
  readonly precision: QuantisedPrecision;
  /** Values that share a scale: a power of two from 16; default 32. */
  readonly blockSize?: number;
  /** Bits of the head; default those of {@link quantiseDefaults}. */
  readonly headBits?: QuantisedBits;
  /** Default availableParallelism(). */
  readonly threads?: number;
  readonly signal?: AbortSignal | undefined;
  /** Called now and then with the bytes of the source done and those of all. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

/** What is taken unless told otherwise. */
export const quantiseDefaults = { blockSize: 32 } as const;

/** What was written. */
export interface QuantisedModel {
  readonly folder: string;
  readonly quantisation: Quantisation;
  /** Bytes of the weights before and after. */
  readonly sourceBytes: number;
  readonly bytes: number;
}

/** Weights and what describes them; all else in a model folder is copied. */
const replaced = /\.(safetensors|bin|pth|pt|gguf|onnx|msgpack|h5)$|\.index\.json$|^\./;

/** Larger files beside a model are no tokenizer. */
const largestCopied = 256 << 20;

/**
 * Quantises the projections and the head of a model folder to a new folder in the same layout. The folder appears whole
 * or not at all; the same source gives the same bytes. Throws InputError when the source cannot be quantised (it is
 * already, or holds values that are not finite) or something is at the target.
 */
export async function quantiseModel(modelDir: string, target: string, options: QuantiseOptions): Promise<QuantisedModel> {
  const { precision, blockSize = quantiseDefaults.blockSize, threads = availableParallelism(), signal, onProgress } = options;
  if (!Number.isSafeInteger(blockSize) || blockSize < 16 || (blockSize & (blockSize - 1)) !== 0) throw new InputError("blockSize is out of range", { field: "blockSize", got: blockSize, wanted: "a power of two from 16" });
  const folder = resolve(target);
  if (await isThere(folder)) throw new InputError("there is something at the target already", { file: folder, field: "out", wanted: "a folder that does not exist yet" });
  const source = await readModelSource(modelDir, 1);
  if (source.weights.precision !== undefined) throw new InputError("the folder's weights are quantised already", { file: modelDir, got: source.weights.precision, wanted: "F32, F16 or BF16 weights" });
  const { dHead } = source.config;
  if (graphHead(source.config) !== dHead) throw new InputError("heads of this width cannot be quantised", { file: modelDir, field: "head_dim", got: dHead, wanted: "a multiple of 16, or the float weights" });
  const bits = bitsOf[precision];
  const moduleBits = new Map<string, QuantisedBits>();
  const headBits = options.headBits ?? bits;
  if (headBits !== bits) moduleBits.set(moduleNames.head, headBits);
  const plan = planQuantisation(source, { bits, blockSize }, moduleBits);
  const sourceBytes = plan.jobs.reduce((sum, { from }) => sum + from.length, 0);

  const temporary = join(dirname(folder), `.${basename(folder)}.${randomBytes(6).toString("hex")}.tmp`);
  await mkdir(temporary, { recursive: true });
  try {
    const weights = join(temporary, weightsFile);
    await makeFile(weights, plan.header, plan.size);
    let done = 0;
    const digests = await runJobs(plan.jobs, weights, {
      threads,
      signal,
      onBytes: (bytes) => {
        done += bytes;
        onProgress?.(done, sourceBytes);
      },
    });
    await syncFile(weights);
    const quantisation: Quantisation = { precision, bits, blockSize, moduleBits, ...digests };
    await copyOthers(modelDir, temporary);
    const configName = configFile(source.config);
    const config = JSON.parse(await readFile(join(modelDir, configName), "utf8")) as Record<string, unknown>;
    await writeFile(join(temporary, configName), `${JSON.stringify({ ...config, quantization_config: quantisationJson(quantisation) }, undefined, 2)}\n`);
    for (const name of await readdir(temporary)) await syncFile(join(temporary, name));
    await syncFolder(temporary);
    signal?.throwIfAborted();
    await rename(temporary, folder);
    await syncFolder(dirname(folder));
    return { folder, quantisation, sourceBytes, bytes: plan.size };
  } catch (error) {
    await rm(temporary, { recursive: true, force: true });
    throw error;
  }
}

/** A file of its full size whose start is `header`. */
async function makeFile(path: string, header: Uint8Array, size: number): Promise<void> {
  const handle = await open(path, "wx");
  try {
    await handle.truncate(size);
    await handle.write(header, 0, header.byteLength, 0);
  } finally {
    await handle.close();
  }
}

async function syncFile(path: string): Promise<void> {
  const handle = await open(path, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function copyOthers(from: string, to: string): Promise<void> {
  for (const name of (await readdir(from)).sort()) {
    const info = await stat(join(from, name));
    if (!info.isFile() || replaced.test(name) || info.size > largestCopied) continue;
    await copyFile(join(from, name), join(to, name));
  }
}

async function isThere(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined)) !== undefined;
}

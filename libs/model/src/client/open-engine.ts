import { availableParallelism } from "node:os";
import { resolve } from "node:path";
import { InputError } from "@mistral-sae/tensor";
import type { Engine } from "../engine.ts";
import { defaultMaxContext } from "../graph/model-source.ts";
import { defaultCacheDir, prepareQuantised, requireFloats } from "../quantisation/prepare.ts";
import type { WorkerSettings } from "../worker/protocol.ts";
import type { OpenEngineOptions } from "./open-options.ts";
import { OrtEngine } from "./ort-engine.ts";
import { WorkerLink } from "./worker-link.ts";

/** What an engine is opened with unless told otherwise. */
export const engineDefaults = { maxContext: defaultMaxContext, maxBatchRows: 64, cacheBytes: 1 << 30 } as const;

/** Steps of one run on CUDA: the cache crosses to the device and back once a run. */
const cudaDecodeSteps = 32;

/**
 * Opens a model folder on onnxruntime, in a thread of its own. The folder is read only. Layers are loaded when they are
 * first run. Throws InputError when the folder does not hold a model that can be run, naming file and field, and when the
 * provider cannot run here.
 */
export async function openEngine(options: OpenEngineOptions): Promise<Engine> {
  const { threads = availableParallelism(), maxContext, maxBatchRows, cacheBytes } = { ...engineDefaults, ...defined(options) };
  const { provider = "cpu" } = options;
  const { decodeSteps = provider === "cuda" ? cudaDecodeSteps : 1 } = options;
  for (const [field, value] of Object.entries({ threads, maxContext, maxBatchRows, cacheBytes, decodeSteps })) {
    if (!Number.isSafeInteger(value) || value < 1) throw new InputError(`${field} is out of range`, { field, got: value, wanted: "an integer from 1" });
  }
  options.signal?.throwIfAborted();
  const modelDir = await preparedFolder(options, threads);
  const settings: WorkerSettings = { modelDir, threads, maxContext, maxBatchRows, cacheBytes, provider };
  const { link, opened } = await WorkerLink.open(settings);
  if (options.signal?.aborted === true) await link.close();
  options.signal?.throwIfAborted();
  return new OrtEngine(link, { ...opened, threads, maxBatchRows, cacheBytes, decodeSteps });
}

/** The folder to open: the model's own, or one of its quantised weights. */
async function preparedFolder({ precision, quantisedDir = defaultCacheDir(), signal, onQuantise: onProgress, ...options }: OpenEngineOptions, threads: number): Promise<string> {
  const modelDir = resolve(options.modelDir);
  if (precision === "int8" || precision === "int4") return await prepareQuantised(modelDir, precision, quantisedDir, { threads, signal, onProgress });
  if (precision === "f32") await requireFloats(modelDir);
  return modelDir;
}

function defined(options: OpenEngineOptions): Partial<OpenEngineOptions> {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
}

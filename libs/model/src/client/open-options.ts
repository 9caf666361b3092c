import type { EnginePrecision } from "../engine.ts";
import type { ExecutionProvider } from "../graph/model-source.ts";

/** How to open the onnxruntime engine. */
export interface OpenEngineOptions {
  /** Folder with config.json and *.safetensors. */
  readonly modelDir: string;
  /** Threads of the matrix products; default availableParallelism(). */
  readonly threads?: number;
  /**
   * Arithmetic; default that of the folder. For "int8" and "int4" a folder of floats is quantised once, to a folder in
   * `quantisedDir` that later starts find again; a folder that is quantised has its own and no other.
   */
  readonly precision?: EnginePrecision;
  /** Where quantised models are kept; default $MISTRAL_SAE_CACHE, else `mistral-sae` in the user's cache folder. */
  readonly quantisedDir?: string;
  /** Told how far quantising has come, in bytes of the weights. */
  readonly onQuantise?: (done: number, total: number) => void;
  /** Longest context to allow; default min(max_position_embeddings, 4096). Bounds the rotary tables. */
  readonly maxContext?: number;
  /** Rows of one decode call at most; default 64. */
  readonly maxBatchRows?: number;
  /** Execution provider of onnxruntime; default cpu. One that cannot run here is refused, naming what is missing. */
  readonly provider?: ExecutionProvider;
  /**
   * Tokens that one run of the model may decode; default 1 on the CPU, where it gains nothing, and 32 with cuda, where the
   * cache crosses to the device and back once a run.
   */
  readonly decodeSteps?: number;
  /** Memory for keys and values, bytes; default 1 GiB. Beyond it prefill and fork throw CacheFullError. */
  readonly cacheBytes?: number;
  readonly signal?: AbortSignal;
}

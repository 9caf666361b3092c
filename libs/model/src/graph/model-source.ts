import { readModelConfig, type ModelConfig } from "../config/model-config.ts";
import { readQuantisation } from "../quantisation/format.ts";
import { readQuantisedTable } from "../quantisation/quantised-weights.ts";
import { rotaryTables, type RotaryTables } from "./rotary.ts";
import { readWeightTable, type WeightTable } from "./weight-table.ts";

/** Longest context whose rotary tables are built unless asked for more. */
export const defaultMaxContext = 4096;

/** A model folder, read and checked: all that graphs are built from. */
export interface ModelSource {
  readonly modelDir: string;
  readonly config: ModelConfig;
  readonly weights: WeightTable;
  readonly rotary: RotaryTables;
  /** Longest sequence. */
  readonly nCtx: number;
  /** What runs the graphs. */
  readonly provider: ExecutionProvider;
}

/** The execution providers of onnxruntime that models run on. */
export const executionProviders = ["cpu", "cuda", "webgpu"] as const;

export type ExecutionProvider = (typeof executionProviders)[number];

/** Reads a model folder, in the Hugging Face layout or in Mistral's own. Throws InputError when it is not a model that can be run. */
export async function readModelSource(modelDir: string, maxContext = defaultMaxContext, provider: ExecutionProvider = "cpu"): Promise<ModelSource> {
  const config = await readModelConfig(modelDir);
  const quantisation = await readQuantisation(modelDir, config);
  const weights = quantisation === undefined ? await readWeightTable(modelDir, config) : await readQuantisedTable(modelDir, config, quantisation);
  const nCtx = Math.min(config.maxPositions, maxContext);
  return { modelDir, config: { ...config, tiedEmbeddings: weights.tiedEmbeddings }, weights, rotary: rotaryTables(config, nCtx), nCtx, provider };
}

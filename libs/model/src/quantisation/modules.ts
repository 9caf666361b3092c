import type { ModelConfig } from "../config/model-config.ts";
import { weightNames } from "../graph/weight-table.ts";

/** Projections that read the same input, stored as one matrix: the rows of `parts` one after another. */
export interface QuantisedModule {
  readonly name: string;
  /** Rows: outputs. */
  readonly n: number;
  /** Columns: inputs. */
  readonly k: number;
  /** Names of the float weights, each [rows, k]. */
  readonly parts: readonly string[];
}

/** Names of the modules of a quantised model. */
export const moduleNames = {
  head: "lm_head",
  layer(layer: number) {
    const prefix = `model.layers.${layer}`;
    return {
      queryKeyValue: `${prefix}.self_attn.qkv_proj`,
      output: `${prefix}.self_attn.o_proj`,
      gateUp: `${prefix}.mlp.gate_up_proj`,
      down: `${prefix}.mlp.down_proj`,
    };
  },
} as const;

/** Every matrix of a model that is quantised, in the order of the file. A tied head is one of its own. */
export function quantisedModules(config: ModelConfig): QuantisedModule[] {
  const { dModel, dMlp, dVocab } = config;
  const dQuery = config.nHeads * config.dHead;
  const dKeyValue = config.nKeyValueHeads * config.dHead;
  const modules: QuantisedModule[] = [];
  for (let layer = 0; layer < config.nLayers; layer++) {
    const names = moduleNames.layer(layer);
    const weights = weightNames.layer(layer);
    modules.push(
      { name: names.queryKeyValue, n: dQuery + 2 * dKeyValue, k: dModel, parts: [weights.query, weights.key, weights.value] },
      { name: names.output, n: dModel, k: dQuery, parts: [weights.output] },
      { name: names.gateUp, n: 2 * dMlp, k: dModel, parts: [weights.gate, weights.up] },
      { name: names.down, n: dModel, k: dMlp, parts: [weights.down] },
    );
  }
  modules.push({ name: moduleNames.head, n: dVocab, k: dModel, parts: [config.tiedEmbeddings ? weightNames.embedding : weightNames.head] });
  return modules;
}

/** Weights that stay as they are: the embedding table, of which only rows are read, and the norms. */
export function floatWeightNames(config: ModelConfig): string[] {
  const names: string[] = [weightNames.embedding];
  for (let layer = 0; layer < config.nLayers; layer++) {
    const { attentionNorm, mlpNorm } = weightNames.layer(layer);
    names.push(attentionNorm, mlpNorm);
  }
  return [...names, weightNames.finalNorm];
}

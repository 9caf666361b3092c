import type { JsonRow } from "../dashboard-rows.ts";
import { firstOfLargest } from "../import/given-rows.ts";
import { emptyFeatureRow, exampleRow, type RowFacts } from "../neuronpedia/rows.ts";

/** Fields of a feature that both formats have under one name. */
const SHARED = [
  "neuron_alignment_indices", "neuron_alignment_values", "neuron_alignment_l1", "correlated_neurons_indices", "correlated_neurons_l1", "correlated_neurons_pearson",
  "correlated_features_indices", "correlated_features_l1", "correlated_features_pearson", "neg_str", "neg_values", "pos_str", "pos_values", "frac_nonzero",
  "freq_hist_data_bar_values", "freq_hist_data_bar_heights", "logits_hist_data_bar_heights", "logits_hist_data_bar_values", "decoder_weights_dist", "vector",
] as const;

/** Fields of an example: SAEDashboard's name, and Neuronpedia's. */
const EXAMPLE = { bin_min: "binMin", bin_max: "binMax", bin_contains: "binContains", qualifying_token_index: "qualifyingTokenIndex" } as const;
const DFA = { dfa_values: "dfaValues", dfa_maxValue: "dfaMaxValue", dfa_targetIndex: "dfaTargetIndex" } as const;

/** What a run of SAEDashboard has in every feature. */
export interface RunFacts {
  readonly n_prompts_total: number;
  readonly n_tokens_in_prompt: number;
  readonly dataset: string;
}

/** SAEDashboard's feature as a row of Neuronpedia's; `activations` are its examples as rows. */
export function fromDashboardFeature(facts: RowFacts, feature: JsonRow, activations: readonly JsonRow[]): JsonRow {
  const vector = feature["vector"];
  const largest = Math.max(0, ...activations.map((row) => Number(row["maxValue"])));
  const shared = Object.fromEntries(SHARED.filter((name) => feature[name] !== undefined).map((name) => [name, feature[name]]));
  return { ...emptyFeatureRow(facts, Number(feature["feature_index"])), ...shared, maxActApprox: largest, hasVector: Array.isArray(vector) && vector.length > 0 };
}

/** SAEDashboard's example as a row of Neuronpedia's. */
export function fromDashboardActivation(facts: RowFacts, feature: number, ordinal: number, activation: JsonRow): JsonRow {
  const tokens = activation["tokens"] as readonly string[];
  const values = activation["values"] as readonly number[];
  const renamed = Object.entries({ ...EXAMPLE, ...DFA }).filter(([name]) => activation[name] !== undefined).map(([name, other]) => [other, activation[name]]);
  return { ...exampleRow(facts, feature, ordinal, tokens, values), ...Object.fromEntries(renamed) };
}

/** A row of Neuronpedia's features, with those of its examples, as SAEDashboard's feature. */
export function toDashboardFeature(feature: JsonRow, activations: readonly JsonRow[], run: RunFacts): JsonRow {
  const shared = Object.fromEntries(SHARED.map((name) => [name, feature[name] ?? []]));
  return { feature_index: Number(feature["index"]), ...shared, frac_nonzero: feature["frac_nonzero"] ?? -1, ...run, activations: activations.map(toDashboardActivation) };
}

function toDashboardActivation(activation: JsonRow): JsonRow {
  const values = activation["values"] as readonly number[];
  const binned = activation["binMin"] !== null && activation["binMin"] !== undefined;
  const edges = binned ? {} : { bin_min: -1, bin_max: values[firstOfLargest(values)], bin_contains: -1 };
  const renamed = Object.fromEntries(Object.entries(EXAMPLE).map(([name, other]) => [name, activation[other]]));
  const dfa = Object.entries(DFA).filter(([, other]) => activation[other] !== null && activation[other] !== undefined && (activation["dfaTargetIndex"] !== null || (activation["dfaValues"] as readonly unknown[] | undefined)?.length !== 0));
  return {
    ...renamed,
    ...edges,
    tokens: activation["tokens"],
    values,
    qualifying_token_index: activation["qualifyingTokenIndex"] ?? firstOfLargest(values),
    ...Object.fromEntries(dfa.map(([name, other]) => [name, activation[other]])),
  };
}

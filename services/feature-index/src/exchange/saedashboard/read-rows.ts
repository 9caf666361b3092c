import { firstOfLargest, type GivenExample, type GivenFeature } from "../import/given-rows.ts";
import { PeerRow, type PeerPlace } from "../import/peer-row.ts";
import { sharedFeature, tokensAndValues } from "../neuronpedia/read-rows.ts";

const FEATURE_FIELDS: ReadonlySet<string> = new Set([
  "feature_index", "neuron_alignment_indices", "neuron_alignment_values", "neuron_alignment_l1", "correlated_neurons_indices", "correlated_neurons_l1", "correlated_neurons_pearson",
  "correlated_features_indices", "correlated_features_l1", "correlated_features_pearson", "neg_str", "neg_values", "pos_str", "pos_values", "frac_nonzero",
  "freq_hist_data_bar_values", "freq_hist_data_bar_heights", "logits_hist_data_bar_heights", "logits_hist_data_bar_values", "n_prompts_total", "n_tokens_in_prompt", "dataset",
  "decoder_weights_dist", "activations", "vector",
]);
const ACTIVATION_FIELDS: ReadonlySet<string> = new Set(["bin_min", "bin_max", "bin_contains", "tokens", "values", "qualifying_token_index", "dfa_values", "dfa_maxValue", "dfa_targetIndex"]);

/** Fields of a batch beside its features. */
export const BATCH_FIELDS: ReadonlySet<string> = new Set(["model_id", "layer", "sae_set", "sae_id_suffix", "features"]);

/** An element of a batch's `features`, with its examples. @throws InputError. */
export function readDashboardFeature(value: unknown, dSae: number, place: PeerPlace): { readonly given: GivenFeature; readonly examples: readonly GivenExample[] } {
  const row = new PeerRow(value, FEATURE_FIELDS, place);
  const feature = row.index("feature_index", dSae - 1);
  const source = row.textOr("dataset", "");
  const { activations = [], ...rest } = value as Record<string, unknown>;
  if (!Array.isArray(activations)) throw row.error("activations", "is no list", "a list");
  const examples = activations.map((item: unknown, i) => readExample(item, feature, source, { ...place, at: `${place.at}.activations[${i}]` }));
  const largest = examples.reduce((most, { values }) => Math.max(most, values[firstOfLargest(values)] ?? 0), 0);
  return { given: { feature, maxActivation: examples.length === 0 ? undefined : largest, ...sharedFeature(row), nearest: [], nearestCosine: [], row: rest }, examples };
}

function readExample(value: unknown, feature: number, source: string, place: PeerPlace): GivenExample {
  const row = new PeerRow(value, ACTIVATION_FIELDS, place);
  const { tokens, values } = tokensAndValues(row);
  row.numbers("dfa_values");
  const { tokens: _tokens, values: _values, ...rest } = value as Record<string, unknown>;
  return {
    feature,
    tokens,
    values,
    binMin: row.numberOr("bin_min", Number.NaN),
    binMax: row.numberOr("bin_max", Number.NaN),
    binContains: row.numberOr("bin_contains", Number.NaN),
    token: row.has("qualifying_token_index") ? row.index("qualifying_token_index", tokens.length - 1) : firstOfLargest(values),
    source,
    row: rest,
  };
}

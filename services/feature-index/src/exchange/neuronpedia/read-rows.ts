import { firstOfLargest, type GivenExample, type GivenExplanation, type GivenFeature } from "../import/given-rows.ts";
import { PeerRow, type PeerPlace } from "../import/peer-row.ts";

const KEY = ["modelId", "layer", "index", "creatorId", "createdAt"];
const UMAP = ["umap_x", "umap_y", "umap_cluster", "umap_log_feature_sparsity"];
const FEATURE_FIELDS: ReadonlySet<string> = new Set([
  ...KEY, ...UMAP, "sourceSetName", "maxActApprox", "hasVector", "vector", "vectorLabel", "hookName", "vectorDefaultSteerStrength", "topkCosSimIndices", "topkCosSimValues",
  "neuron_alignment_indices", "neuron_alignment_values", "neuron_alignment_l1", "correlated_neurons_indices", "correlated_neurons_pearson", "correlated_neurons_l1",
  "correlated_features_indices", "correlated_features_pearson", "correlated_features_l1", "neg_str", "neg_values", "pos_str", "pos_values", "frac_nonzero",
  "freq_hist_data_bar_heights", "freq_hist_data_bar_values", "logits_hist_data_bar_heights", "logits_hist_data_bar_values", "decoder_weights_dist",
]);
const ACTIVATION_FIELDS: ReadonlySet<string> = new Set([
  ...KEY, "id", "tokens", "values", "maxValue", "maxValueTokenIndex", "minValue", "binMin", "binMax", "binContains", "qualifyingTokenIndex", "dataSource", "dataIndex",
  "dfaValues", "dfaTargetIndex", "dfaMaxValue", "lossValues", "logitContributions", "zIndices", "zKIndices", "zQIndices", "zValues",
]);
const EXPLANATION_FIELDS: ReadonlySet<string> = new Set([
  ...KEY, ...UMAP, "id", "description", "authorId", "embedding", "triggeredById", "triggeredByUserId", "typeName", "explanationModelName", "notes", "updatedAt", "scoreV1", "scoreV2",
]);

/** The lists of a feature that go in pairs. */
export const FEATURE_PAIRS = [
  ["neg_str", "neg_values"],
  ["pos_str", "pos_values"],
  ["freq_hist_data_bar_heights", "freq_hist_data_bar_values"],
  ["logits_hist_data_bar_heights", "logits_hist_data_bar_values"],
] as const;

/** The numbers, lists of numbers and lists of texts that both dashboards give of a feature; SAEDashboard writes them first. */
export function sharedFeature(row: PeerRow): Pick<GivenFeature, "fracNonzero" | "barValues" | "barHeights" | "posStr" | "posValues" | "negStr" | "negValues"> {
  for (const [texts, numbers] of FEATURE_PAIRS) row.requirePairs(texts, row.get(texts) as readonly unknown[] ?? [], numbers, row.get(numbers) as readonly unknown[] ?? []);
  for (const name of ["neuron_alignment_values", "neuron_alignment_l1", "correlated_neurons_pearson", "correlated_neurons_l1", "correlated_features_pearson", "correlated_features_l1", "logits_hist_data_bar_heights", "logits_hist_data_bar_values", "decoder_weights_dist", "vector"]) row.numbers(name);
  const frac = row.numberOr("frac_nonzero", -1);
  if (frac > 1) throw row.error("frac_nonzero", "is no share", "0 to 1, or -1 where it is not known");
  return {
    fracNonzero: frac < 0 ? undefined : frac,
    barValues: row.numbers("freq_hist_data_bar_values"),
    barHeights: row.numbers("freq_hist_data_bar_heights"),
    posStr: row.texts("pos_str"),
    posValues: row.numbers("pos_values"),
    negStr: row.texts("neg_str"),
    negValues: row.numbers("neg_values"),
  };
}

/** A line of `features/batch-N.jsonl.gz`. @throws InputError. */
export function readFeature(value: unknown, dSae: number, place: PeerPlace): { readonly given: GivenFeature; readonly owner: string } {
  const row = new PeerRow(value, FEATURE_FIELDS, place);
  const nearest = row.numbers("topkCosSimIndices");
  const nearestCosine = row.numbers("topkCosSimValues");
  row.requirePairs("topkCosSimIndices", nearest, "topkCosSimValues", nearestCosine);
  const given = { feature: row.index("index", dSae - 1), maxActivation: row.numberOr("maxActApprox", undefined), ...sharedFeature(row), nearest, nearestCosine, row: value as Record<string, unknown> };
  return { given, owner: ownerOf(row) };
}

/** A line of `activations/batch-N.jsonl.gz`. @throws InputError. */
export function readActivation(value: unknown, dSae: number, place: PeerPlace): { readonly given: GivenExample; readonly owner: string } {
  const row = new PeerRow(value, ACTIVATION_FIELDS, place);
  row.text("id");
  const { tokens, values } = tokensAndValues(row);
  row.numbers("dfaValues");
  row.numbers("lossValues");
  if (row.has("maxValueTokenIndex")) row.index("maxValueTokenIndex", tokens.length - 1);
  const { tokens: _tokens, values: _values, ...rest } = value as Record<string, unknown>;
  const given = {
    feature: row.index("index", dSae - 1),
    tokens,
    values,
    binMin: row.numberOr("binMin", Number.NaN),
    binMax: row.numberOr("binMax", Number.NaN),
    binContains: row.numberOr("binContains", Number.NaN),
    token: row.has("qualifyingTokenIndex") ? row.index("qualifyingTokenIndex", tokens.length - 1) : firstOfLargest(values),
    source: row.textOr("dataSource", ""),
    row: rest,
  };
  return { given, owner: ownerOf(row) };
}

/** Tokens and their values. @throws InputError unless there is one for each, and a window holds them. */
export function tokensAndValues(row: PeerRow): { readonly tokens: readonly string[]; readonly values: readonly number[] } {
  const tokens = row.texts("tokens");
  const values = row.numbers("values");
  row.requirePairs("tokens", tokens, "values", values);
  if (tokens.length === 0 || tokens.length > 65_536) throw row.error("tokens", `has ${tokens.length} tokens`, "1 to 65536");
  return { tokens, values };
}

/** A line of `explanations/batch-N.jsonl.gz`. @throws InputError. */
export function readExplanation(value: unknown, dSae: number, place: PeerPlace): { readonly given: GivenExplanation; readonly owner: string } {
  const row = new PeerRow(value, EXPLANATION_FIELDS, place);
  row.text("id");
  row.text("description");
  for (const name of ["authorId", "typeName", "explanationModelName", "notes"]) row.textOr(name, "");
  return { given: { feature: row.index("index", dSae - 1), row: value as Record<string, unknown> }, owner: ownerOf(row) };
}

function ownerOf(row: PeerRow): string {
  return `${row.text("modelId")}/${row.text("layer")}`;
}

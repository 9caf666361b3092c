import { createHash } from "node:crypto";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { type ActivationExampleSchema, ActivationGroup, type ExplanationSummarySchema, type FeatureSchema } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature";
import { firstOfLargest } from "../import/given-rows.ts";
import type { SourceNames } from "./source-names.ts";

type FeatureInit = MessageInitShape<typeof FeatureSchema>;
type ExampleInit = MessageInitShape<typeof ActivationExampleSchema>;
type ExplanationInit = Pick<MessageInitShape<typeof ExplanationSummarySchema>, "name" | "description" | "explanationType" | "explanationModel">;

/** What all rows of a source have in common. */
export interface RowFacts extends SourceNames {
  readonly hookName: string;
  /** Something that tells this index from every other: ids are made from it. */
  readonly seed: string;
  /** ISO 8601. */
  readonly createdAt: string;
}

/** Neuronpedia shows so many promoted and suppressed tokens. */
const LOGITS = 10;
/** Its strength of steering where none was tried. */
const STEER_STRENGTH = 10;
/** Its tables want somebody. */
const AUTHOR = "mistral-sae";

/** A row of Neuronpedia's Neuron table of which nothing but its place is known: every list empty. */
export function emptyFeatureRow(facts: RowFacts, feature: number): Record<string, unknown> {
  return {
    modelId: facts.modelId,
    layer: facts.sourceId,
    index: String(feature),
    sourceSetName: facts.setName,
    creatorId: null,
    createdAt: facts.createdAt,
    maxActApprox: 0,
    hasVector: false,
    vector: [],
    vectorLabel: null,
    hookName: facts.hookName,
    vectorDefaultSteerStrength: STEER_STRENGTH,
    topkCosSimIndices: [],
    topkCosSimValues: [],
    neuron_alignment_indices: [],
    neuron_alignment_values: [],
    neuron_alignment_l1: [],
    correlated_neurons_indices: [],
    correlated_neurons_pearson: [],
    correlated_neurons_l1: [],
    correlated_features_indices: [],
    correlated_features_pearson: [],
    correlated_features_l1: [],
    neg_str: [],
    neg_values: [],
    pos_str: [],
    pos_values: [],
    frac_nonzero: -1,
    freq_hist_data_bar_heights: [],
    freq_hist_data_bar_values: [],
    logits_hist_data_bar_heights: [],
    logits_hist_data_bar_values: [],
    decoder_weights_dist: [],
  };
}

/**
 * A row of Neuronpedia's Neuron table. Every key is on every row: its importer takes the columns from the first line.
 * Lists of what the index does not measure are empty: neuron alignment, correlated neurons, logit histogram.
 */
export function featureRow(facts: RowFacts, feature: FeatureInit): Record<string, unknown> {
  const pos = (feature.posLogits ?? []).slice(0, LOGITS);
  const neg = (feature.negLogits ?? []).slice(0, LOGITS);
  const edges = feature.linearHist?.binEdges ?? [];
  return {
    ...emptyFeatureRow(facts, feature.featureIndex ?? 0),
    maxActApprox: feature.maxActivation ?? 0,
    topkCosSimIndices: (feature.nearest ?? []).map(({ featureIndex }) => featureIndex),
    topkCosSimValues: (feature.nearest ?? []).map(({ value }) => value),
    neg_str: neg.map(({ strToken = "" }) => printable(strToken)),
    neg_values: neg.map(({ logit }) => logit),
    pos_str: pos.map(({ strToken = "" }) => printable(strToken)),
    pos_values: pos.map(({ logit }) => logit),
    frac_nonzero: feature.fracNonzero ?? 0,
    // Bars stand at the middle of their bin.
    freq_hist_data_bar_heights: (feature.linearHist?.counts ?? []).map(Number),
    freq_hist_data_bar_values: edges.slice(1).map((edge, at) => (edge + (edges[at] ?? 0)) / 2),
  };
}

/** A row of its Activation table for example `ordinal` of a feature, of which tokens and values alone are known. */
export function exampleRow(facts: RowFacts, feature: number, ordinal: number, tokens: readonly string[], values: readonly number[]): Record<string, unknown> {
  const top = firstOfLargest(values);
  return {
    id: rowId(facts.seed, "activation", feature, ordinal),
    modelId: facts.modelId,
    layer: facts.sourceId,
    index: String(feature),
    tokens,
    values,
    maxValue: values[top] ?? 0,
    maxValueTokenIndex: top,
    minValue: Math.min(values[top] ?? 0, ...values),
    binMin: null,
    binMax: null,
    binContains: null,
    qualifyingTokenIndex: top,
    creatorId: null,
    createdAt: facts.createdAt,
    dataSource: null,
    dataIndex: null,
    dfaValues: [],
    dfaTargetIndex: null,
    dfaMaxValue: null,
    lossValues: [],
    logitContributions: null,
    zIndices: null,
    zValues: null,
  };
}

/** The same of an example of ours: values of all tokens, zeros included. */
export function activationRow(facts: RowFacts, feature: number, ordinal: number, example: ExampleInit, corpus: string): Record<string, unknown> {
  const tokens = (example.tokens?.strTokens ?? []).map(printable);
  const values = Array.from({ length: tokens.length }, () => 0);
  for (const [at, position] of (example.positions ?? []).entries()) values[position] = example.values?.[at] ?? 0;
  const top = example.group === ActivationGroup.TOP;
  return {
    ...exampleRow(facts, feature, ordinal, tokens, values),
    // The group of the largest carries SAEDashboard's marks in place of a bin.
    binMin: top ? -1 : example.binMin,
    binMax: top ? (values[firstOfLargest(values)] ?? 0) : example.binMax,
    binContains: top ? -1 : example.binContains,
    qualifyingTokenIndex: example.qualifyingTokenIndex,
    dataSource: corpus,
    dataIndex: String(example.docId),
  };
}

/** A row of its Explanation table. */
export function explanationRow(facts: RowFacts, feature: number, { name = "", description = "", explanationType = "", explanationModel = "" }: ExplanationInit): Record<string, unknown> {
  return {
    id: rowId(facts.seed, "explanation", feature, name),
    modelId: facts.modelId,
    layer: facts.sourceId,
    index: String(feature),
    description: printable(description),
    authorId: AUTHOR,
    embedding: null,
    triggeredById: null,
    typeName: explanationType === "" ? null : explanationType,
    explanationModelName: explanationModel === "" ? null : explanationModel,
    notes: null,
    createdAt: facts.createdAt,
  };
}

/** 25 characters as a cuid has them, the same at every export of the same index. */
function rowId(...of: readonly (string | number)[]): string {
  const number = BigInt(`0x${createHash("sha256").update(JSON.stringify(of)).digest("hex")}`);
  return `c${number.toString(36).padStart(50, "0").slice(-24)}`;
}

/** Its importer turns NUL into a space. */
function printable(text: string): string {
  return text.replaceAll("\0", " ");
}

import { rowBounds } from "@mistral-sae/tensor";
import { answers, f1Score, logisticRegression } from "./logistic.ts";
import { l1Defaults, l1Probe, strongestSlope } from "./l1-probe.ts";
import { SparseDesign } from "./design.ts";
import type { ProbeRows } from "./probe-rows.ts";
import { featureColumns, residualRows, type RowTask } from "./probe-task.ts";
import type { Probe } from "./logistic.ts";

/** SAEBench's constants (AbsorptionEvalConfig and FeatureAbsorptionCalculator). */
export const absorptionConstants = {
  /** Main features at most: max_k_value. */
  mostMainFeatures: 10,
  /** F1 that one more main feature has to gain: f1_jump_threshold. */
  f1Gain: 0.03,
  /** F1 below which the probe does not know the letter: min_GT_probe_f1. */
  leastProbeF1: 0.6,
  /** Activation below which a main feature does not fire. */
  silent: 1e-8,
  /** Cosine with the probe of a feature that absorbs wholly: full_absorption_probe_cos_sim_threshold. */
  fullCosine: 0.025,
  /** Cosine with the probe of a feature that absorbs in part: absorption_fraction_probe_cos_sim_threshold. */
  partCosine: 0.1,
  /** Share of the token's projection that the absorbing features make up: probe_projection_proportion_threshold. */
  projectionShare: 0.4,
  /** Features that absorb one token together: absorption_fraction_max_absorbing_latents. */
  mostAbsorbing: 3,
} as const;

/** Decay of the L1 probe at most, as a share of the one that leaves no weights: SAEs with small activations have main features too. */
const LARGEST_DECAY_SHARE = 0.1;
/** Absorbing features that a result names. */
const MOST_NAMED = 20;

export interface LetterAbsorption {
  /** Tokens with the letter on which the probe says so. */
  readonly nTokens: number;
  readonly absorptionFraction: number;
  readonly fullAbsorption: number;
  readonly splitFeatures: readonly number[];
  readonly absorbingFeatures: readonly number[];
}

/** What absorption needs to know of the decoder. */
export interface DecoderProjections {
  /** [d_sae] ⟨d_f, p⟩, p the unit direction of the probe: what an activation of 1 adds to the projection, in normalised space. */
  readonly projections: Float32Array;
  /** [d_sae] ‖d_f‖. */
  readonly lengths: Float32Array;
}

/** F1 of the probe on the model's activations. */
export function probeF1({ test }: RowTask, rows: ProbeRows, probe: Probe): number {
  return f1Score(answers(residualRows(test.rows, rows), probe), test.labels);
}

/**
 * Main features of a task: of the largest weights of an L1 probe on all features, first one, then one more as long as the F1 of
 * logistic regression on them gains {@link absorptionConstants.f1Gain} on the test tokens.
 */
export function mainFeatures({ train, test }: RowTask, { codes }: ProbeRows): number[] {
  const design = new SparseDesign(codes, train.rows);
  const decay = Math.min(l1Defaults.decay, LARGEST_DECAY_SHARE * strongestSlope(design, train.labels));
  const { weights } = l1Probe(design, train.labels, { decay });
  const ranked = [...weights.keys()].filter((feature) => (weights[feature] as number) > 0).sort((a, b) => (weights[b] as number) - (weights[a] as number) || a - b);
  let main: number[] = [];
  let best = -Infinity;
  for (let k = 1; k <= Math.min(absorptionConstants.mostMainFeatures, ranked.length); k += 1) {
    const chosen = ranked.slice(0, k);
    const probe = logisticRegression(featureColumns(codes, train.rows, chosen), train.labels);
    const f1 = f1Score(answers(featureColumns(codes, test.rows, chosen), probe), test.labels);
    if (f1 <= best + absorptionConstants.f1Gain) break;
    best = f1;
    main = chosen;
  }
  return main;
}

/**
 * Absorption of one letter (Chanin et al. 2024, as SAEBench measures it) over the test tokens that have the letter and on which the
 * probe says so. With P = ⟨x, p⟩ of the row as the model has it, M what the main features add to it and A what the
 * {@link absorptionConstants.mostAbsorbing} other features with cosine ≥ {@link absorptionConstants.partCosine} add that add most:
 * - fraction: 0 where M ≥ P or A/P < {@link absorptionConstants.projectionShare}; 1 where M ≤ 0; else a/(a + M), a = min(A, P - M);
 * - full: no main feature fires, P ≥ 0, and the feature that adds most has cosine ≥ {@link absorptionConstants.fullCosine} and adds at
 *   least that share of P.
 *
 * What a feature adds is its activation times ⟨d_f, p⟩, so that decoder rows of any length count as they are; SAEBench's rows are unit
 * vectors.
 */
export function letterAbsorption(task: RowTask, rows: ProbeRows, probe: Probe, main: readonly number[], decoder: DecoderProjections): LetterAbsorption {
  const { test } = task;
  const length = Math.sqrt(probe.weights.reduce((sum, weight) => sum + weight * weight, 0));
  const design = residualRows(test.rows, rows);
  const scores = answers(design, probe);
  const isMain = new Set(main);
  const absorbed = new Map<number, number>();
  let tokens = 0;
  let fractions = 0;
  let full = 0;
  for (const [at, row] of test.rows.entries()) {
    const score = scores[at] as number;
    if (test.labels[at] !== 1 || !(score > 0)) continue;
    tokens += 1;
    // The row's own projection, without the bias.
    const projection = (score - probe.bias) / length;
    const { fraction, absorbing, isFull } = tokenAbsorption(row, rows, projection, isMain, decoder);
    fractions += fraction;
    full += Number(isFull);
    for (const feature of absorbing) absorbed.set(feature, (absorbed.get(feature) ?? 0) + 1);
  }
  return {
    nTokens: tokens,
    absorptionFraction: tokens === 0 ? 0 : fractions / tokens,
    fullAbsorption: tokens === 0 ? 0 : full / tokens,
    splitFeatures: main,
    absorbingFeatures: [...absorbed].sort((a, b) => b[1] - a[1] || a[0] - b[0]).slice(0, MOST_NAMED).map(([feature]) => feature),
  };
}

interface TokenAbsorption {
  readonly fraction: number;
  readonly isFull: boolean;
  readonly absorbing: readonly number[];
}

function tokenAbsorption(row: number, { codes, scales }: ProbeRows, projection: number, isMain: ReadonlySet<number>, { projections, lengths }: DecoderProjections): TokenAbsorption {
  const { partCosine, fullCosine, projectionShare, mostAbsorbing, silent } = absorptionConstants;
  const [start, end] = rowBounds(codes, row);
  const others: { readonly feature: number; readonly adds: number }[] = [];
  let mainAdds = 0;
  let mainFires = false;
  let top = { adds: 0, feature: -1 };
  for (let pair = start; pair < end; pair += 1) {
    const feature = codes.indices[pair] as number;
    const value = codes.values[pair] as number;
    const adds = value * (projections[feature] as number) * (scales[row] as number);
    if (adds > top.adds) top = { adds, feature };
    if (isMain.has(feature)) {
      mainAdds += adds;
      mainFires ||= Math.abs(value) >= silent;
    } else if (adds > 0 && cosineOf(feature) >= partCosine) others.push({ feature, adds });
  }
  const absorbers = others.sort((a, b) => b.adds - a.adds || a.feature - b.feature).slice(0, mostAbsorbing);
  const othersAdd = absorbers.reduce((sum, { adds }) => sum + adds, 0);
  const fraction = fractionOf(projection, mainAdds, othersAdd);
  const isFull = !mainFires && top.feature >= 0 && projection >= 0 && cosineOf(top.feature) >= fullCosine && top.adds >= projectionShare * projection;
  const absorbing = new Set(fraction > 0 ? absorbers.map(({ feature }) => feature) : []);
  if (isFull) absorbing.add(top.feature);
  return { fraction, isFull, absorbing: [...absorbing] };

  function cosineOf(feature: number): number {
    const length = lengths[feature] as number;
    return length === 0 ? 0 : (projections[feature] as number) / length;
  }
}

function fractionOf(projection: number, main: number, others: number): number {
  if (main >= projection || others / projection < absorptionConstants.projectionShare) return 0;
  if (main <= 0) return 1;
  const taken = Math.min(others, projection - main);
  return Math.min(1, Math.max(0, taken / (taken + main)));
}

import type { Design } from "./design.ts";
import type { Probe } from "./logistic.ts";

export interface L1Options {
  /** Weight of Σ|w|. */
  readonly decay: number;
  readonly steps: number;
}

/** `decay` is SAEBench's k_sparse_probe_l1_decay; its 50 epochs of Adam are 400 exact steps here. */
export const l1Defaults: L1Options = { decay: 0.01, steps: 400 };

const POWER_STEPS = 30;
/** Power iteration comes from below. */
const SAFETY = 1.1;

/**
 * A probe with few weights: minimises mean_i log(1 + exp(-y_i(⟨x_i, w⟩ + b))) + decay·‖w‖₁ by FISTA (Beck and Teboulle 2009) with a
 * restart where the momentum points uphill (O'Donoghue and Candès 2015). Deterministic.
 */
export function l1Probe(design: Design, labels: Uint8Array, options: Partial<L1Options> = {}): Probe {
  const { decay, steps } = { ...l1Defaults, ...options };
  const { rows, columns } = design;
  const rate = 1 / Math.max((SAFETY * largestCurvature(design)) / (4 * rows), Number.MIN_VALUE);
  let point = new Float64Array(columns + 1);
  let next = new Float64Array(columns + 1);
  const ahead = new Float64Array(columns + 1);
  const gradient = new Float64Array(columns + 1);
  const scores = new Float64Array(rows);
  let momentum = 1;
  for (let round = 0; round < steps; round += 1) {
    design.scores(ahead.subarray(0, columns), scores);
    gradient.fill(0);
    for (let row = 0; row < rows; row += 1) {
      const wrong = (1 / (1 + Math.exp(-((scores[row] as number) + (ahead[columns] as number)))) - (labels[row] as number)) / rows;
      scores[row] = wrong;
      gradient[columns] = (gradient[columns] as number) + wrong;
    }
    design.pull(scores, gradient.subarray(0, columns));
    let uphill = 0;
    for (let at = 0; at <= columns; at += 1) {
      const moved = (ahead[at] as number) - rate * (gradient[at] as number);
      const shrunk = at === columns ? moved : Math.sign(moved) * Math.max(0, Math.abs(moved) - rate * decay);
      next[at] = shrunk;
      uphill += ((ahead[at] as number) - shrunk) * (shrunk - (point[at] as number));
    }
    const after = uphill > 0 ? 1 : (1 + Math.sqrt(1 + 4 * momentum * momentum)) / 2;
    const carry = uphill > 0 ? 0 : (momentum - 1) / after;
    for (let at = 0; at <= columns; at += 1) ahead[at] = (next[at] as number) + carry * ((next[at] as number) - (point[at] as number));
    [point, next] = [next, point];
    momentum = after;
  }
  return { weights: point.slice(0, columns), bias: point[columns] as number, steps };
}

/** Largest slope of the mean loss along a weight at w = 0, b = 0: from this decay on, balanced examples give no weights at all. */
export function strongestSlope(design: Design, labels: Uint8Array): number {
  const gradient = new Float64Array(design.columns);
  design.pull(Float64Array.from(labels, (label) => (0.5 - label) / design.rows), gradient);
  return gradient.reduce((most, slope) => Math.max(most, Math.abs(slope)), 0);
}

/** Largest eigenvalue of Σ x_i x_iᵀ, x_i with a 1 for the intercept. */
function largestCurvature(design: Design): number {
  const { rows, columns } = design;
  const vector = new Float64Array(columns + 1).fill(1);
  const through = new Float64Array(rows);
  let value = 0;
  for (let round = 0; round < POWER_STEPS; round += 1) {
    const length = Math.sqrt(vector.reduce((sum, entry) => sum + entry * entry, 0));
    for (let at = 0; at <= columns; at += 1) vector[at] = (vector[at] as number) / length;
    design.scores(vector.subarray(0, columns), through);
    let bias = 0;
    for (let row = 0; row < rows; row += 1) {
      through[row] = (through[row] as number) + (vector[columns] as number);
      bias += through[row] as number;
    }
    value = through.reduce((sum, entry) => sum + entry * entry, 0);
    vector.fill(0);
    design.pull(through, vector.subarray(0, columns));
    vector[columns] = bias;
  }
  return value;
}

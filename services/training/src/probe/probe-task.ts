import { rowBounds, type SparseRows } from "@mistral-sae/tensor";
import { DenseDesign, SparseDesign } from "./design.ts";
import { accuracy, answers, logisticRegression, type Probe } from "./logistic.ts";
import type { ProbeRows } from "./probe-rows.ts";

/** Rows with their labels: positives, then negatives. */
export interface LabelledRows {
  readonly rows: readonly number[];
  /** [rows] 1 for yes. */
  readonly labels: Uint8Array;
}

export function labelledRows(positive: readonly number[], negative: readonly number[]): LabelledRows {
  return { rows: [...positive, ...negative], labels: Uint8Array.from([...positive, ...negative], (_, at) => Number(at < positive.length)) };
}

/** A task as {@link ProbeRows} rows. */
export interface RowTask {
  readonly train: LabelledRows;
  readonly test: LabelledRows;
}

export interface ProbedTask {
  readonly residualAccuracy: number;
  readonly saeAccuracy: number;
  readonly accuracyByK: Readonly<Record<number, number>>;
  /** Best first, as many as the largest k. */
  readonly features: readonly number[];
  /** Of the model's activations, in their own space. */
  readonly residualProbe: Probe;
}

/**
 * K-sparse probing as SAEBench (Karvonen et al. 2025) has it: the k features whose means differ most between the classes, of either
 * sign, and logistic regression on their activations; accuracy on held-back tokens. Beside it the same regression on all features and
 * on the model's own activations, the ceiling; those are centred and divided by one number, their root mean square, which turns no
 * direction.
 */
export function probeTask({ train, test }: RowTask, rows: ProbeRows, ks: readonly number[]): ProbedTask {
  const { codes } = rows;
  const residual = residualProbe(train, rows);
  const all = logisticRegression(new SparseDesign(codes, train.rows), train.labels);
  const features = topByMeanDifference(codes, train, ks.at(-1) ?? 0);
  const accuracyByK: Record<number, number> = {};
  for (const k of ks) {
    const chosen = features.slice(0, k);
    const probe = logisticRegression(featureColumns(codes, train.rows, chosen), train.labels);
    accuracyByK[k] = accuracy(answers(featureColumns(codes, test.rows, chosen), probe), test.labels);
  }
  return {
    residualAccuracy: accuracy(answers(residualRows(test.rows, rows), residual), test.labels),
    saeAccuracy: accuracy(answers(new SparseDesign(codes, test.rows), all), test.labels),
    accuracyByK,
    features,
    residualProbe: residual,
  };
}

/** The features whose mean activations differ most between yes and no, best first; those that never fire are left out. */
export function topByMeanDifference(codes: SparseRows, { rows, labels }: LabelledRows, count: number): number[] {
  const difference = new Float64Array(codes.dSae);
  const yes = labels.reduce((sum, label) => sum + label, 0);
  for (const [at, row] of rows.entries()) {
    const share = labels[at] === 1 ? 1 / yes : -1 / (rows.length - yes);
    const [start, end] = rowBounds(codes, row);
    for (let pair = start; pair < end; pair += 1) {
      const feature = codes.indices[pair] as number;
      difference[feature] = (difference[feature] as number) + share * (codes.values[pair] as number);
    }
  }
  const sizes = difference.map(Math.abs);
  const fired = [...sizes.keys()].filter((feature) => (sizes[feature] as number) > 0);
  return fired.sort((a, b) => (sizes[b] as number) - (sizes[a] as number) || a - b).slice(0, count);
}

/** Activations of some features, dense. */
export function featureColumns(codes: SparseRows, rows: readonly number[], features: readonly number[]): DenseDesign {
  const column = new Map(features.map((feature, at) => [feature, at]));
  const values = new Float32Array(rows.length * features.length);
  for (const [at, row] of rows.entries()) {
    const [start, end] = rowBounds(codes, row);
    for (let pair = start; pair < end; pair += 1) {
      const to = column.get(codes.indices[pair] as number);
      if (to !== undefined) values[at * features.length + to] = codes.values[pair] as number;
    }
  }
  return new DenseDesign(values, features.length, rows.length);
}

/** The model's activations, as they are. */
export function residualRows(rows: readonly number[], { residuals, dIn }: ProbeRows): DenseDesign {
  const values = new Float32Array(rows.length * dIn);
  for (const [at, row] of rows.entries()) values.set(residuals.subarray(row * dIn, (row + 1) * dIn), at * dIn);
  return new DenseDesign(values, dIn, rows.length);
}

/** Fits on centred and scaled rows and gives the probe that answers the same on rows as they are. */
function residualProbe(train: LabelledRows, { residuals, dIn }: ProbeRows): Probe {
  const count = train.rows.length;
  const mean = new Float64Array(dIn);
  for (const row of train.rows) for (let column = 0; column < dIn; column += 1) mean[column] = (mean[column] as number) + (residuals[row * dIn + column] as number) / count;
  const values = new Float32Array(count * dIn);
  let squares = 0;
  for (const [at, row] of train.rows.entries()) {
    for (let column = 0; column < dIn; column += 1) {
      const centred = (residuals[row * dIn + column] as number) - (mean[column] as number);
      values[at * dIn + column] = centred;
      squares += centred * centred;
    }
  }
  const scale = Math.sqrt(squares / values.length) || 1;
  for (let at = 0; at < values.length; at += 1) values[at] = (values[at] as number) / scale;
  const { weights, bias, steps } = logisticRegression(new DenseDesign(values, dIn, count), train.labels);
  const own = weights.map((weight) => weight / scale);
  return { weights: own, bias: bias - own.reduce((sum, weight, column) => sum + weight * (mean[column] as number), 0), steps };
}

import type { Design } from "./design.ts";

/** A linear probe: its answer is yes where ⟨x, w⟩ + bias > 0. */
export interface Probe {
  /** [columns]. */
  readonly weights: Float64Array;
  readonly bias: number;
  /** Newton steps taken. */
  readonly steps: number;
}

export interface LogisticOptions {
  /** Inverse of the penalty, scikit-learn's C. */
  readonly c: number;
  /** Stops when no component of the gradient is larger than this share of the first one's largest. */
  readonly tolerance: number;
  readonly maxSteps: number;
}

/** C is scikit-learn's default, with which SAEBench fits its k-sparse probes. */
export const logisticDefaults: LogisticOptions = { c: 1, tolerance: 1e-6, maxSteps: 100 };

const MOST_CG_STEPS = 500;
/** Armijo's constant. */
const SUFFICIENT = 1e-4;

/**
 * L2-regularised logistic regression, scikit-learn's objective: minimises ½‖w‖² + C Σ_i log(1 + exp(-y_i(⟨x_i, w⟩ + b))), y = ±1, the
 * intercept free. Newton steps solved by conjugate gradients with a diagonal preconditioner, halved until the loss falls enough;
 * everything in f64 and in a fixed order, so that equal examples give equal bits.
 *
 * @param labels [rows] 1 for yes, 0 for no.
 */
export function logisticRegression(design: Design, labels: Uint8Array, options: Partial<LogisticOptions> = {}): Probe {
  const { c, tolerance, maxSteps } = { ...logisticDefaults, ...options };
  const { rows, columns } = design;
  // The last entry is the intercept.
  const point = new Float64Array(columns + 1);
  const gradient = new Float64Array(columns + 1);
  const step = new Float64Array(columns + 1);
  const trial = new Float64Array(columns + 1);
  const scores = new Float64Array(rows);
  const weight = new Float64Array(rows);
  let loss = evaluate(point, scores);
  let first = 0;
  let steps = 0;

  function evaluate(at: Float64Array, out: Float64Array): number {
    design.scores(at.subarray(0, columns), out);
    let sum = 0;
    for (let column = 0; column < columns; column += 1) sum += (at[column] as number) ** 2 / 2;
    for (let row = 0; row < rows; row += 1) {
      out[row] = (out[row] as number) + (at[columns] as number);
      sum += c * softplus((labels[row] === 1 ? -1 : 1) * (out[row] as number));
    }
    return sum;
  }

  for (; steps < maxSteps; steps += 1) {
    gradientAt();
    const size = largest(gradient);
    if (steps === 0) first = size;
    if (size <= tolerance * first) break;
    solve(Math.min(0.1, Math.sqrt(size / first)));
    const slope = dot(gradient, step);
    let factor = 1;
    let next = loss;
    for (; factor > 1e-10; factor /= 2) {
      for (let at = 0; at <= columns; at += 1) trial[at] = (point[at] as number) + factor * (step[at] as number);
      next = evaluate(trial, scores);
      if (next <= loss + SUFFICIENT * factor * slope) break;
    }
    // No step lowers the loss any more: f64 has been used up.
    if (!(next < loss)) break;
    point.set(trial);
    loss = next;
  }
  return { weights: point.slice(0, columns), bias: point[columns] as number, steps };

  /** Gradient at the point whose scores are held, and the weights of the Hessian there. */
  function gradientAt(): void {
    design.scores(point.subarray(0, columns), scores);
    const residual = weight;
    let bias = 0;
    for (let row = 0; row < rows; row += 1) {
      const wrong = c * (sigmoid((scores[row] as number) + (point[columns] as number)) - (labels[row] as number));
      residual[row] = wrong;
      bias += wrong;
    }
    gradient.set(point);
    design.pull(residual, gradient.subarray(0, columns));
    gradient[columns] = bias;
    for (let row = 0; row < rows; row += 1) {
      const p = sigmoid((scores[row] as number) + (point[columns] as number));
      weight[row] = c * p * (1 - p);
    }
  }

  /** step ≈ -H⁻¹·gradient, until what is left is `share` of the gradient: little where Newton's own error is little. */
  function solve(share: number): void {
    const diagonal = new Float64Array(columns + 1).fill(1);
    design.pullSquares(weight, diagonal.subarray(0, columns));
    diagonal[columns] = Math.max(weight.reduce((sum, value) => sum + value, 0), Number.MIN_VALUE);
    const left = gradient.map((value) => -value);
    const scaled = left.map((value, at) => value / (diagonal[at] as number));
    const direction = Float64Array.from(scaled);
    const product = new Float64Array(columns + 1);
    const through = new Float64Array(rows);
    step.fill(0);
    let size = dot(left, scaled);
    const enough = share ** 2 * dot(gradient, gradient);
    for (let round = 0; round < MOST_CG_STEPS && dot(left, left) > enough; round += 1) {
      hessianTimes(direction, through, product);
      const curvature = dot(direction, product);
      if (!(curvature > 0)) break;
      const factor = size / curvature;
      for (let at = 0; at <= columns; at += 1) {
        step[at] = (step[at] as number) + factor * (direction[at] as number);
        left[at] = (left[at] as number) - factor * (product[at] as number);
        scaled[at] = (left[at] as number) / (diagonal[at] as number);
      }
      const next = dot(left, scaled);
      for (let at = 0; at <= columns; at += 1) direction[at] = (scaled[at] as number) + (next / size) * (direction[at] as number);
      size = next;
    }
  }

  function hessianTimes(v: Float64Array, through: Float64Array, out: Float64Array): void {
    design.scores(v.subarray(0, columns), through);
    let bias = 0;
    for (let row = 0; row < rows; row += 1) {
      through[row] = (weight[row] as number) * ((through[row] as number) + (v[columns] as number));
      bias += through[row] as number;
    }
    out.set(v);
    design.pull(through, out.subarray(0, columns));
    out[columns] = bias;
  }
}

/** What a probe answers: ⟨x_i, w⟩ + bias, [rows]. */
export function answers(design: Design, { weights, bias }: Pick<Probe, "weights" | "bias">): Float64Array {
  const out = new Float64Array(design.rows);
  design.scores(weights, out);
  return out.map((score) => score + bias);
}

/** Share of examples that are answered as they are labelled. */
export function accuracy(scores: Float64Array, labels: Uint8Array): number {
  let right = 0;
  for (const [at, score] of scores.entries()) right += Number(score > 0 === (labels[at] === 1));
  return right / scores.length;
}

/** Harmonic mean of precision and recall of yes; 0 where no yes is right. */
export function f1Score(scores: Float64Array, labels: Uint8Array): number {
  let right = 0;
  let said = 0;
  let meant = 0;
  for (const [at, score] of scores.entries()) {
    const yes = Number(score > 0);
    said += yes;
    meant += labels[at] as number;
    right += yes * (labels[at] as number);
  }
  return right === 0 ? 0 : (2 * right) / (said + meant);
}

function softplus(x: number): number {
  return x > 0 ? x + Math.log1p(Math.exp(-x)) : Math.log1p(Math.exp(x));
}

function sigmoid(x: number): number {
  return x >= 0 ? 1 / (1 + Math.exp(-x)) : Math.exp(x) / (1 + Math.exp(x));
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let at = 0; at < a.length; at += 1) sum += (a[at] as number) * (b[at] as number);
  return sum;
}

function largest(values: Float64Array): number {
  let most = 0;
  for (const value of values) most = Math.max(most, Math.abs(value));
  return most;
}

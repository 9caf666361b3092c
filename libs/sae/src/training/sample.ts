import { InputError } from "@mistral-sae/tensor";
import { newRowStats, normalizeRows } from "../codec/normalize.ts";
import type { BDecInitMethod, ResolvedTrainerConfig, TrainedNormalization } from "./config.ts";
import { measureWhitening, whitenSample, type WhiteningStatistics } from "./whitening.ts";

/** What a trainer learns from a sample of its data before the first step. */
export interface SampleStatistics {
  /** √d / mean ‖x‖ for expected_average_only_in (SAELens), else 1. */
  readonly inputScale: number;
  /** The same of a transcoder's outputs; of an autoencoder inputScale. */
  readonly outputScale: number;
  /** For covariance_whitening. */
  readonly whitening: WhiteningStatistics | undefined;
  /** Inverse of the normalised rows' variance about their mean, per element. */
  readonly mseScale: number;
  /** Start of b_dec, [d_out], in the normalised space. */
  readonly center: Float64Array;
}

const medianIterations = 100;
const medianTolerance = 1e-5;

type Measured = Pick<ResolvedTrainerConfig, "dIn" | "normalizeActivations" | "bDecInitMethod">;

/**
 * Measures raw rows [n, d], of a transcoder [n, d + d_out]: there b_dec and the factor of the loss are those of the outputs.
 * Throws InputError for a sample that is empty, not finite or without variance.
 */
export function measureSample(sample: Float32Array, config: Measured & Partial<Pick<ResolvedTrainerConfig, "dOut" | "transcoder">>): SampleStatistics {
  const { dIn, dOut = dIn, transcoder = false } = config;
  requireRows(sample, transcoder ? dIn + dOut : dIn);
  if (!transcoder) return measureRows(sample, config);
  const [inputs, outputs] = [columnsOf(sample, dIn + dOut, 0, dIn), columnsOf(sample, dIn + dOut, dIn, dOut)];
  const scale = config.normalizeActivations === "expected_average_only_in" ? averageScale(inputs, dIn) : 1;
  return { ...measureRows(outputs, { ...config, dIn: dOut }), inputScale: scale };
}

function requireRows(sample: Float32Array, width: number): void {
  if (sample.length > 0 && sample.length % width === 0) return;
  throw new InputError("the sample is not whole rows", { field: "sample", got: `${sample.length} values`, wanted: `a multiple of ${width}` });
}

function columnsOf(rows: Float32Array, width: number, from: number, count: number): Float32Array {
  const columns = new Float32Array((rows.length / width) * count);
  for (let at = from, put = 0; at < rows.length; at += width, put += count) columns.set(rows.subarray(at, at + count), put);
  return columns;
}

function measureRows(sample: Float32Array, config: Measured): SampleStatistics {
  const { dIn: d, normalizeActivations, bDecInitMethod } = config;
  const inputScale = normalizeActivations === "expected_average_only_in" ? averageScale(sample, d) : 1;
  const whitening = normalizeActivations === "covariance_whitening" ? measureWhitening(sample, d) : undefined;
  const rows = whitening === undefined ? normaliseSample(sample, d, normalizeActivations, inputScale) : whitenSample(sample, whitening);
  const mean = columnMean(rows, d);
  const variance = meanSquare(rows, mean);
  if (!(variance > 0 && Number.isFinite(variance))) {
    throw new InputError("the sample has no finite variance", { field: "sample", got: variance, wanted: "rows of finite numbers that differ" });
  }
  return { inputScale, outputScale: inputScale, whitening, mseScale: 1 / variance, center: centerOf(bDecInitMethod, rows, mean) };
}

function centerOf(method: BDecInitMethod, rows: Float32Array, mean: Float64Array): Float64Array {
  if (method === "zeros") return new Float64Array(mean.length);
  return method === "mean" ? mean : geometricMedian(rows, mean);
}

function averageScale(sample: Float32Array, d: number): number {
  let norms = 0;
  for (let at = 0; at < sample.length; ) {
    let sum = 0;
    for (const end = at + d; at < end; at++) sum += sample[at]! * sample[at]!;
    norms += Math.sqrt(sum);
  }
  const scale = (Math.sqrt(d) * sample.length) / d / norms;
  if (!(scale > 0 && Number.isFinite(scale))) throw new InputError("the sample's rows have no finite average norm", { field: "sample", got: norms, wanted: "a positive sum of norms" });
  return scale;
}

/** The rows as the trainer's kernels normalise them. */
function normaliseSample(sample: Float32Array, d: number, kind: TrainedNormalization, scale: number): Float32Array {
  if (kind === "none" || kind === "covariance_whitening") return sample;
  if (kind === "expected_average_only_in") return sample.map((value) => value * scale);
  const rows = new Float32Array(sample.length);
  normalizeRows(kind, sample, d, rows, newRowStats(sample.length / d));
  return rows;
}

function columnMean(rows: Float32Array, d: number): Float64Array {
  const mean = new Float64Array(d);
  for (let at = 0; at < rows.length; ) for (let i = 0; i < d; i++) mean[i]! += rows[at++]!;
  const n = rows.length / d;
  return mean.map((sum) => sum / n);
}

function meanSquare(rows: Float32Array, center: Float64Array): number {
  const d = center.length;
  let sum = 0;
  for (let at = 0; at < rows.length; ) for (let i = 0; i < d; i++) sum += (rows[at++]! - center[i]!) ** 2;
  return sum / rows.length;
}

/** Weiszfeld's iteration from `start`: the point with the least sum of distances to the rows [n, d]. */
export function geometricMedian(rows: Float32Array, start: Float64Array): Float64Array {
  const d = start.length;
  let median = start;
  for (let round = 0; round < medianIterations; round++) {
    const next = new Float64Array(d);
    let weights = 0;
    for (let at = 0; at < rows.length; at += d) {
      let squares = 0;
      for (let i = 0; i < d; i++) squares += (rows[at + i]! - median[i]!) ** 2;
      // A row on the median would have infinite weight.
      const weight = 1 / Math.max(Math.sqrt(squares), 1e-12);
      weights += weight;
      for (let i = 0; i < d; i++) next[i]! += weight * rows[at + i]!;
    }
    let moved = 0;
    for (let i = 0; i < d; i++) {
      next[i]! /= weights;
      moved += (next[i]! - median[i]!) ** 2;
    }
    median = next;
    if (Math.sqrt(moved) < medianTolerance) break;
  }
  return median;
}

import { InputError } from "@mistral-sae/tensor";
import { outputWidth, selectsByK, type SaeConfig } from "./config.ts";
import { decoderNorms, type SaeWeights } from "./weights.ts";

// The least norm that SAELens divides by.
const LEAST_NORM = 1e-8;

/**
 * The same SAE with unit decoder rows: W_dec[f] /= n, and W_enc[f], b_enc[f] (threshold, gate biases) *= n, with n = max(‖W_dec[f]‖, 1e-8).
 *
 * Activations become those that SAELens calls rescaled; reconstructions do not change.
 * For topk and abstopk this holds only where selection already uses the norms; the result says so no more, so that a plain
 * top-k over its pre-activations is exact. Throws InputError where folding would change the selection.
 */
export function foldDecoderNorms(sae: SaeWeights): SaeWeights {
  const { architecture, rescaleActsByDecoderNorm, dIn } = sae.config;
  if (architecture === "matching_pursuit" || (selectsByK(architecture) && !rescaleActsByDecoderNorm)) {
    throw new InputError("folding decoder norms would change which features are selected", { field: "rescale_acts_by_decoder_norm", got: false, wanted: true });
  }
  const norms = decoderNorms(sae).map((norm) => Math.max(norm, LEAST_NORM));
  return {
    ...sae,
    config: { ...sae.config, rescaleActsByDecoderNorm: false },
    wEnc: scaleRows(sae.wEnc, dIn, (row) => norms[row]!),
    bEnc: times(sae.bEnc, norms),
    wDec: scaleRows(sae.wDec, outputWidth(sae.config), (row) => 1 / norms[row]!),
    ...(sae.threshold === undefined ? {} : { threshold: times(sae.threshold, norms) }),
    ...(sae.gate === undefined ? {} : { gate: { bGate: times(sae.gate.bGate, norms), bMag: times(sae.gate.bMag, norms), rMag: sae.gate.rMag } }),
  };
}

/**
 * A gated SAE as the jumprelu SAE that gives the same activations: W_enc[f] *= e^r_mag, b_enc = b_mag, threshold = b_mag - e^r_mag·b_gate,
 * since W·x + b_gate > 0 is e^r_mag·W·x + b_mag > threshold. Equal but for rounding where a gate stands at 0. Others are returned as they are.
 */
export function foldGate(sae: SaeWeights): SaeWeights {
  const { gate, config } = sae;
  if (gate === undefined) return sae;
  const { gate: _gate, ...rest } = sae;
  const scale = gate.rMag.map(Math.exp);
  return {
    ...rest,
    config: { ...config, architecture: "jumprelu" },
    wEnc: scaleRows(sae.wEnc, config.dIn, (row) => scale[row]!),
    bEnc: gate.bMag,
    threshold: gate.bMag.map((bias, f) => bias - scale[f]! * gate.bGate[f]!),
  };
}

/**
 * The SAE for raw rows x, given one trained on s·x (SAELens' expected_average_only_in): W_enc *= s, W_dec /= s, b_dec /= s.
 * Thresholds and encoder biases keep their value: they act on pre-activations, which do not change. Of a transcoder s scales both its
 * sides, so W_skip stays too. Matching pursuit keeps its one matrix, so that activations scale
 * with the input, and its threshold, a length of rows, is divided by s.
 */
export function foldInputScale(sae: SaeWeights, scale: number): SaeWeights {
  if (!Number.isFinite(scale) || scale <= 0) throw new InputError("the input scale is not a positive number", { field: "scaling_factor", got: scale, wanted: "a positive number" });
  const { matchingPursuit } = sae.config;
  const config: SaeConfig = { ...sae.config, normalizeActivations: "none" };
  const bDec = sae.bDec.map((b) => b / scale);
  if (matchingPursuit !== undefined) return { ...sae, bDec, config: { ...config, matchingPursuit: { ...matchingPursuit, residualThreshold: matchingPursuit.residualThreshold / scale } } };
  return { ...sae, config, wEnc: sae.wEnc.map((w) => w * scale), wDec: sae.wDec.map((w) => w / scale), bDec };
}

/** An affine whitening z = (x - mean)·matrix and its inverse; matrices row-major [d_in, d_in]. */
export interface Whitening {
  readonly mean: Float32Array;
  readonly matrix: Float32Array;
  readonly inverseMatrix: Float32Array;
}

/**
 * The SAE for raw rows, given one trained on whitened rows. With SAELens' [d_in, d_sae] encoder:
 * W_enc ← M·W_enc, W_dec ← W_dec·M⁻¹, b_dec ← b_dec·M⁻¹ + mean and, unless b_dec is subtracted from the input,
 * b_enc ← b_enc - mean·(M·W_enc); a gated SAE's b_mag shifts by that times exp(r_mag).
 * Decoder norms that take part in the selection must be folded first.
 */
export function foldWhitening(sae: SaeWeights, { mean, matrix, inverseMatrix }: Whitening): SaeWeights {
  const { architecture, dIn, dOut, dSae, applyBDecToInput, rescaleActsByDecoderNorm } = sae.config;
  if (architecture === "matching_pursuit") throw new InputError("matching pursuit encodes with its decoder, so a whitening cannot be folded", { field: "normalize_activations", got: "covariance_whitening", wanted: "another normalisation" });
  if (dOut !== undefined) throw new InputError("the whitening of a transcoder's input says nothing of its output", { field: "normalize_activations", got: "covariance_whitening", wanted: "an SAE that writes what it reads" });
  if (rescaleActsByDecoderNorm) throw new InputError("fold the decoder norms before the whitening", { field: "rescale_acts_by_decoder_norm", got: true, wanted: false });
  const wEnc = new Float32Array(dSae * dIn);
  const wDec = new Float32Array(dSae * dIn);
  const bEnc = new Float32Array(sae.bEnc);
  const bGate = sae.gate && new Float32Array(sae.gate.bGate);
  const bMag = sae.gate && new Float32Array(sae.gate.bMag);
  for (let f = 0; f < dSae; f++) {
    const encoder = sae.wEnc.subarray(f * dIn, (f + 1) * dIn);
    let shift = 0;
    for (let i = 0; i < dIn; i++) {
      let sum = 0;
      for (let j = 0; j < dIn; j++) sum += matrix[i * dIn + j]! * encoder[j]!;
      wEnc[f * dIn + i] = sum;
      shift += mean[i]! * sum;
    }
    multiplyRow(sae.wDec.subarray(f * dIn, (f + 1) * dIn), inverseMatrix, wDec.subarray(f * dIn, (f + 1) * dIn));
    if (applyBDecToInput) continue;
    if (sae.gate === undefined) bEnc[f]! -= shift;
    else {
      bGate![f]! -= shift;
      bMag![f]! -= shift * Math.exp(sae.gate.rMag[f]!);
    }
  }
  const bDec = multiplyRow(sae.bDec, inverseMatrix, new Float32Array(dIn)).map((value, i) => value + mean[i]!);
  return {
    ...sae,
    config: { ...sae.config, normalizeActivations: "none" },
    wEnc,
    bEnc,
    wDec,
    bDec,
    ...(sae.gate === undefined ? {} : { gate: { bGate: bGate!, bMag: bMag!, rMag: sae.gate.rMag } }),
  };
}

/** row · matrix into `target`. */
function multiplyRow(row: Float32Array, matrix: Float32Array, target: Float32Array): Float32Array {
  const width = target.length;
  const sums = new Float64Array(width);
  for (let i = 0; i < row.length; i++) {
    const value = row[i]!;
    for (let j = 0; j < width; j++) sums[j]! += value * matrix[i * width + j]!;
  }
  target.set(sums);
  return target;
}

function scaleRows(matrix: Float32Array, width: number, scaleOf: (row: number) => number): Float32Array {
  const result = new Float32Array(matrix.length);
  for (let at = 0, row = 0; at < matrix.length; row++) {
    const scale = scaleOf(row);
    for (const end = at + width; at < end; at++) result[at] = matrix[at]! * scale;
  }
  return result;
}

function times(values: Float32Array, factors: Float32Array): Float32Array {
  return values.map((value, i) => value * factors[i]!);
}

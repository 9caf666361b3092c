// The elementwise part of penalised architectures: one latent's activation, its derivative and its penalty.
// Each thread has its own instance of these variables.

export const LP: i32 = 1;
const STEP: i32 = 2;
const TANH: i32 = 3;

/** Numbers of the step, read by {@link beginStep}. */
export let gated: bool = false;
export let penalty: i32 = 0;
let weight: f32 = 0;
let power: f32 = 1;
let bandwidth: f32 = 0;
let tanhScale: f32 = 0;
let steToInput: bool = false;

/** The latent's parameters, set by {@link beginLatent}. */
export let threshold: f32 = 0;
let gateBias: f32 = 0;
let magnitudeBias: f32 = 0;
let magnitudeScale: f32 = 1;
export let norm: f32 = 0;
/** A pre-activation above this matters: it is active, or close enough to the threshold to move it. */
export let lowest: f32 = 0;

/** Gradients summed over the latent's entries. */
export let normSum: f64 = 0;
export let thresholdSum: f64 = 0;
export let gateBiasSum: f64 = 0;
export let magnitudeBiasSum: f64 = 0;
export let magnitudeScaleSum: f64 = 0;

/** What {@link differentiate} leaves besides its result: the activation. */
export let activation: f32 = 0;

/** `block`: f32 gated, penalty, weight, power, bandwidth, tanhScale, steToInput; weight is the coefficient divided by the rows. */
export function beginStep(block: usize): void {
  gated = load<f32>(block) != 0;
  penalty = <i32>load<f32>(block, 4);
  weight = load<f32>(block, 8);
  power = load<f32>(block, 12);
  bandwidth = load<f32>(block, 16);
  tanhScale = load<f32>(block, 20);
  steToInput = load<f32>(block, 24) != 0;
}

/**
 * `vectors`: the latent's place in the vectors of the architecture, `span` bytes from one to the next: threshold, or r_mag and b_mag.
 * `bias`: the encoder's own bias, b_gate of a gated SAE. `decoderNorm`: ‖W_dec[f]‖, which weighs the penalty.
 */
export function beginLatent(vectors: usize, span: usize, bias: f32, decoderNorm: f32): void {
  norm = decoderNorm;
  threshold = 0;
  lowest = 0;
  if (gated) {
    gateBias = bias;
    magnitudeScale = Mathf.exp(load<f32>(vectors));
    magnitudeBias = load<f32>(vectors + span);
  } else if (penalty >= STEP) {
    threshold = load<f32>(vectors);
    lowest = threshold - bandwidth * <f32>0.5;
  }
  normSum = thresholdSum = gateBiasSum = magnitudeBiasSum = magnitudeScaleSum = 0;
}

/** The feature's value at pre-activation p: p where p > threshold; gated: relu(exp(r_mag)·(p - b_gate) + b_mag) where p > 0. */
// @ts-ignore: decorator
@inline
export function activate(p: f32): f32 {
  if (!(p > threshold)) return 0;
  return gated ? max<f32>(0, (p - gateBias) * magnitudeScale + magnitudeBias) : p;
}

/** The entry's part of the sparsity loss without its coefficient; of the p-norm the p-th power, whose root its row takes. */
// @ts-ignore: decorator
@inline
export function penaltyOf(p: f32): f32 {
  if (!(p > threshold)) return 0;
  if (penalty == STEP) return 1;
  const weighted = p * norm;
  if (penalty == TANH) return Mathf.tanh(tanhScale * weighted);
  return penalty == LP ? Mathf.pow(weighted, power) : weighted;
}

/**
 * The gradient at the pre-activation p, given that of the reconstruction at the feature's value, `dz`, and at the gate's, `da`.
 * `rowFactor`: the row's part of the derivative of the p-norm. Adds to the latent's sums.
 *
 * jumprelu (Rajamanoharan et al. 2024): the threshold takes -(θ/bw)·dz - weight/bw within bw/2 of it; Conerly et al. 2025 pass that to p too.
 */
// @ts-ignore: decorator
@inline
export function differentiate(p: f32, dz: f32, da: f32, rowFactor: f32): f32 {
  const active = p > threshold;
  // The gate's value carries the penalty of a gated SAE; it equals p.
  const penalised = active ? p : 0;
  let slope: f32 = 0;
  if (penalty == TANH) {
    const t = active ? Mathf.tanh(tanhScale * penalised * norm) : 0;
    slope = weight * tanhScale * (1 - t * t);
  } else if (penalty == LP) {
    slope = active ? rowFactor * Mathf.pow(penalised * norm, power - 1) : 0;
  } else if (penalty != STEP) {
    slope = weight;
  }
  normSum += <f64>(slope * penalised);
  if (gated) {
    const gate = active ? da + slope * norm : 0;
    const magnitude = (p - gateBias) * magnitudeScale + magnitudeBias;
    const through: f32 = active && magnitude > 0 ? dz : 0;
    activation = active ? max<f32>(0, magnitude) : 0;
    gateBiasSum += <f64>gate;
    magnitudeBiasSum += <f64>through;
    magnitudeScaleSum += <f64>(through * magnitudeScale * (p - gateBias));
    return gate + through * magnitudeScale;
  }
  activation = penalised;
  const total = dz + slope * norm;
  let gradient: f32 = active ? total : 0;
  if (penalty >= STEP) {
    const distance = (p - threshold) / bandwidth;
    if (distance > -0.5 && distance < 0.5) {
      const estimate = (threshold * total + (penalty == STEP ? weight : 0)) / bandwidth;
      thresholdSum -= <f64>estimate;
      if (steToInput) gradient += estimate;
    }
  }
  return gradient;
}

import { topK } from "@mistral-sae/tensor";
import { decoderNorms, type SaeWeights } from "../formats/weights.ts";
import { matchingPursuit } from "./matching-pursuit.ts";

/** Receives the features of one row that fire, in any order; at most `capacity` of them. */
export interface Fired {
  readonly indices: Uint32Array;
  readonly values: Float32Array;
}

/** Turns one row of pre-activations [d_sae] (which it may overwrite; of matching pursuit the encoder's input [d_in]) into activations other than zero; returns how many. */
export type Activation = (pre: Float32Array, fired: Fired) => number;

/** The activation of an SAE's architecture, and the most features of a row that it can let fire. */
export interface ActivationFn {
  readonly capacity: number;
  readonly apply: Activation;
}

/**
 * The activation function of `sae`.
 *
 * standard: relu(p). topk: the k largest p, then relu. abstopk: the k largest |p|, sign kept. jumprelu: relu(p)·[p > threshold].
 * gated, with p = h·W_enc: [p + b_gate > 0]·relu(exp(r_mag)·p + b_mag). groupmax: the largest relu(p) of each of k groups of neighbours.
 * matching_pursuit: see {@link matchingPursuit}. topk and abstopk first scale p by ‖W_dec[f]‖ where the configuration says so.
 */
export function activationOf(sae: SaeWeights): ActivationFn {
  const { architecture, dSae, k } = sae.config;
  switch (architecture) {
    case "topk":
      return { capacity: k!, apply: topkActivation(k!, scalesOf(sae)) };
    case "abstopk":
      return { capacity: k!, apply: absTopkActivation(k!, scalesOf(sae)) };
    case "groupmax":
      return { capacity: k!, apply: groupMax(k!, dSae / k!) };
    case "jumprelu":
      return { capacity: dSae, apply: jumpRelu(sae.threshold!) };
    case "matching_pursuit":
      return matchingPursuit(sae);
    case "gated":
      return { capacity: dSae, apply: gated(sae) };
    default:
      return { capacity: dSae, apply: (pre, fired) => keepPositive(pre, fired) };
  }
}

function scalesOf(sae: SaeWeights): Float32Array | undefined {
  return sae.config.rescaleActsByDecoderNorm ? decoderNorms(sae) : undefined;
}

function scale(pre: Float32Array, factors: Float32Array | undefined): void {
  if (factors === undefined) return;
  for (let f = 0; f < pre.length; f++) pre[f]! *= factors[f]!;
}

function topkActivation(k: number, scales: Float32Array | undefined): Activation {
  return (pre, { indices, values }) => {
    scale(pre, scales);
    let count = topK(pre, k, indices, values);
    // They descend: what is not positive is at the end.
    while (count > 0 && !(values[count - 1]! > 0)) count--;
    return count;
  };
}

function absTopkActivation(k: number, scales: Float32Array | undefined): Activation {
  let sizes = new Float32Array(0);
  return (pre, { indices, values }) => {
    scale(pre, scales);
    if (sizes.length !== pre.length) sizes = new Float32Array(pre.length);
    for (let f = 0; f < pre.length; f++) sizes[f] = Math.abs(pre[f]!);
    let count = topK(sizes, k, indices, values);
    while (count > 0 && values[count - 1] === 0) count--;
    for (let i = 0; i < count; i++) values[i] = pre[indices[i]!]!;
    return count;
  };
}

function groupMax(k: number, size: number): Activation {
  return (pre, { indices, values }) => {
    let count = 0;
    for (let group = 0; group < k; group++) {
      let best = group * size;
      for (let f = best + 1; f < (group + 1) * size; f++) if (pre[f]! > pre[best]!) best = f;
      if (!(pre[best]! > 0)) continue;
      indices[count] = best;
      values[count++] = pre[best]!;
    }
    return count;
  };
}

function jumpRelu(threshold: Float32Array): Activation {
  return (pre, { indices, values }) => {
    let count = 0;
    for (let f = 0; f < pre.length; f++) {
      const value = pre[f]!;
      if (value > threshold[f]! && value > 0) {
        indices[count] = f;
        values[count++] = value;
      }
    }
    return count;
  };
}

function gated({ gate }: SaeWeights): Activation {
  const { bGate, bMag, rMag } = gate!;
  const factor = rMag.map((value) => Math.exp(value));
  return (pre, { indices, values }) => {
    let count = 0;
    for (let f = 0; f < pre.length; f++) {
      if (!(pre[f]! + bGate[f]! > 0)) continue;
      const value = pre[f]! * factor[f]! + bMag[f]!;
      if (value > 0) {
        indices[count] = f;
        values[count++] = value;
      }
    }
    return count;
  };
}

function keepPositive(pre: Float32Array, { indices, values }: Fired): number {
  let count = 0;
  for (let f = 0; f < pre.length; f++) {
    if (pre[f]! > 0) {
      indices[count] = f;
      values[count++] = pre[f]!;
    }
  }
  return count;
}

import { InputError } from "@mistral-sae/tensor";
import type { SaeConfig } from "./config.ts";

/** The gate of a gated SAE; each [d_sae]. */
export interface GateWeights {
  readonly bGate: Float32Array;
  readonly bMag: Float32Array;
  readonly rMag: Float32Array;
}

/**
 * An SAE in memory, in the one layout that all formats map to: row-major f32, rows are features.
 * A feature's direction is one contiguous row of `wDec`, and the encoder multiplies by `wEnc` transposed.
 */
export interface SaeWeights {
  readonly config: SaeConfig;
  /** [d_sae, d_in]. */
  readonly wEnc: Float32Array;
  /** [d_sae]; zeros for a gated SAE, whose biases are in `gate`. */
  readonly bEnc: Float32Array;
  /** [d_sae, d_in]. */
  readonly wDec: Float32Array;
  /** [d_in], in the normalised space. */
  readonly bDec: Float32Array;
  /** jumprelu: [d_sae]; a feature fires when its pre-activation is above. */
  readonly threshold?: Float32Array | undefined;
  /** gated only. */
  readonly gate?: GateWeights | undefined;
}

/** Row `feature` of the decoder, as a view [d_in]. Throws InputError when there is no such feature. */
export function decoderRow(sae: SaeWeights, feature: number): Float32Array {
  return rowOf(sae, sae.wDec, feature);
}

/** Row `feature` of the encoder, as a view [d_in]. Throws InputError when there is no such feature. */
export function encoderRow(sae: SaeWeights, feature: number): Float32Array {
  return rowOf(sae, sae.wEnc, feature);
}

function rowOf({ config: { dIn, dSae } }: SaeWeights, matrix: Float32Array, feature: number): Float32Array {
  if (!Number.isInteger(feature) || feature < 0 || feature >= dSae) {
    throw new InputError("no such feature", { field: "feature_index", got: feature, wanted: `0 to ${dSae - 1}` });
  }
  return matrix.subarray(feature * dIn, (feature + 1) * dIn);
}

/** Euclidean norm of every row of a [rows, width] matrix. */
export function rowNorms(matrix: Float32Array, width: number): Float32Array {
  const norms = new Float32Array(matrix.length / width);
  for (let row = 0, at = 0; row < norms.length; row++) {
    let sum = 0;
    for (const end = at + width; at < end; at++) sum += matrix[at]! * matrix[at]!;
    norms[row] = Math.sqrt(sum);
  }
  return norms;
}

/** ‖W_dec[f]‖ for every feature. Decoder rows need not be unit vectors. */
export function decoderNorms(sae: SaeWeights): Float32Array {
  return rowNorms(sae.wDec, sae.config.dIn);
}

/** Every tensor of an SAE with its name and wanted number of elements. */
export function namedTensors(sae: SaeWeights): [string, Float32Array, number][] {
  const { dIn, dSae } = sae.config;
  const tensors: [string, Float32Array, number][] = [
    ["W_enc", sae.wEnc, dSae * dIn],
    ["b_enc", sae.bEnc, dSae],
    ["W_dec", sae.wDec, dSae * dIn],
    ["b_dec", sae.bDec, dIn],
  ];
  if (sae.threshold !== undefined) tensors.push(["threshold", sae.threshold, dSae]);
  if (sae.gate !== undefined) tensors.push(["b_gate", sae.gate.bGate, dSae], ["b_mag", sae.gate.bMag, dSae], ["r_mag", sae.gate.rMag, dSae]);
  return tensors;
}

/**
 * Refuses an SAE that cannot compute: tensors of the wrong size, missing for their architecture, or holding a value that is not finite.
 * Throws InputError naming `file` and the tensor.
 */
export function requireSound(sae: SaeWeights, file?: string): void {
  const at = file === undefined ? {} : { file };
  const { architecture } = sae.config;
  if ((sae.threshold !== undefined) !== (architecture === "jumprelu")) {
    throw new InputError("a threshold belongs to jumprelu and to nothing else", { ...at, field: "threshold", got: architecture, wanted: "jumprelu" });
  }
  if ((sae.gate !== undefined) !== (architecture === "gated")) {
    throw new InputError("gate biases belong to gated and to nothing else", { ...at, field: "b_gate", got: architecture, wanted: "gated" });
  }
  for (const [name, values, wanted] of namedTensors(sae)) {
    if (values.length !== wanted) throw new InputError(`${name} has the wrong size`, { ...at, field: name, got: values.length, wanted });
    const bad = firstNonFinite(values);
    if (bad !== -1) throw new InputError(`${name} holds a value that is not a finite number`, { ...at, field: `${name}[${bad}]`, got: values[bad], wanted: "a finite number" });
  }
}

function firstNonFinite(values: Float32Array): number {
  for (let i = 0; i < values.length; i++) if (!Number.isFinite(values[i]!)) return i;
  return -1;
}

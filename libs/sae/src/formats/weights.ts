import { InputError } from "@mistral-sae/tensor";
import { outputWidth, type SaeConfig } from "./config.ts";

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
  /** [d_sae, d_in]; of matching_pursuit the same array as `wDec`. */
  readonly wEnc: Float32Array;
  /** [d_sae]; zeros for a gated SAE, whose biases are in `gate`, and for matching_pursuit. */
  readonly bEnc: Float32Array;
  /** [d_sae, d_out]; d_out is d_in unless the SAE is a transcoder. */
  readonly wDec: Float32Array;
  /** [d_out], in the normalised space. */
  readonly bDec: Float32Array;
  /** With a skip connection: [d_out, d_in], applied to the raw row. */
  readonly wSkip?: Float32Array | undefined;
  /** jumprelu: [d_sae]; a feature fires when its pre-activation is above. */
  readonly threshold?: Float32Array | undefined;
  /** gated only. */
  readonly gate?: GateWeights | undefined;
}

/** Row `feature` of the decoder, as a view [d_out]. Throws InputError when there is no such feature. */
export function decoderRow(sae: SaeWeights, feature: number): Float32Array {
  return rowOf(sae, sae.wDec, outputWidth(sae.config), feature);
}

/** Row `feature` of the encoder, as a view [d_in]. Throws InputError when there is no such feature. */
export function encoderRow(sae: SaeWeights, feature: number): Float32Array {
  return rowOf(sae, sae.wEnc, sae.config.dIn, feature);
}

function rowOf({ config: { dSae } }: SaeWeights, matrix: Float32Array, width: number, feature: number): Float32Array {
  if (!Number.isInteger(feature) || feature < 0 || feature >= dSae) {
    throw new InputError("no such feature", { field: "feature_index", got: feature, wanted: `0 to ${dSae - 1}` });
  }
  return matrix.subarray(feature * width, (feature + 1) * width);
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
  return rowNorms(sae.wDec, outputWidth(sae.config));
}

/** Every tensor of an SAE with its name and wanted number of elements. */
export function namedTensors(sae: SaeWeights): [string, Float32Array, number][] {
  const { dIn, dSae } = sae.config;
  const dOut = outputWidth(sae.config);
  const tensors: [string, Float32Array, number][] = [
    ["W_enc", sae.wEnc, dSae * dIn],
    ["b_enc", sae.bEnc, dSae],
    ["W_dec", sae.wDec, dSae * dOut],
    ["b_dec", sae.bDec, dOut],
  ];
  if (sae.wSkip !== undefined) tensors.push(["W_skip", sae.wSkip, dOut * dIn]);
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
  const { skipConnection = false, matchingPursuit, applyBDecToInput, reshapeActivations, dOut } = sae.config;
  if ((sae.wSkip !== undefined) !== skipConnection) {
    throw new InputError("W_skip belongs to an SAE with a skip connection and to no other", { ...at, field: "W_skip", got: skipConnection ? "nothing" : "W_skip", wanted: skipConnection ? "W_skip" : "nothing" });
  }
  if ((matchingPursuit !== undefined) !== (architecture === "matching_pursuit")) {
    throw new InputError("settings of matching pursuit belong to that architecture and to nothing else", { ...at, field: "residual_threshold", got: architecture, wanted: "matching_pursuit" });
  }
  if (dOut !== undefined) {
    if (applyBDecToInput) throw new InputError("the b_dec of a transcoder belongs to its output", { ...at, field: "apply_b_dec_to_input", got: true, wanted: false });
    if (reshapeActivations !== "none") throw new InputError("transcoders on attention heads are not known", { ...at, field: "reshape_activations", got: reshapeActivations, wanted: "none" });
    if (architecture === "matching_pursuit") throw new InputError("matching pursuit decodes what it encodes: there is no such transcoder", { ...at, field: "architecture", got: architecture, wanted: "another architecture" });
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

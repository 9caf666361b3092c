import { InputError } from "@mistral-sae/tensor";
import type { InputNormalisation } from "./normalise.ts";
import type { LoadedSae } from "./loaded-sae.ts";

/**
 * An SAE ready to run: code = act(W_enc · x + bias), row = W_decᵀ · code + b_dec, in normalised space. The input's
 * b_dec and the decoder norms are folded in.
 */
export interface CanonicalSae {
  readonly dIn: number;
  readonly dSae: number;
  readonly kind: "topk" | "relu" | "jumprelu";
  /** Features kept a row; 0 where the architecture sets none. */
  readonly k: number;
  readonly normalisation: InputNormalisation;
  /** [dSae, dIn] */
  readonly wEnc: Float32Array;
  /** [dSae] */
  readonly bias: Float32Array;
  /** [dSae, dIn] */
  readonly wDec: Float32Array;
  readonly bDec: Float32Array;
  /** [dSae], jumprelu only. */
  readonly threshold: Float32Array | undefined;
  /** [dSae] length of each decoder row. */
  readonly decoderNorms: Float32Array;
}

const kinds: ReadonlyMap<string, CanonicalSae["kind"]> = new Map([["topk", "topk"], ["standard", "relu"], ["jumprelu", "jumprelu"]]);
const normalisations: ReadonlyMap<string, InputNormalisation> = new Map([["none", "none"], ["layer_norm", "layer_norm"], ["constant_norm_rescale", "constant_norm_rescale"]]);

/**
 * Checks an SAE and folds what can be folded: `apply_b_dec_to_input` becomes b_enc − W_enc · b_dec, and
 * `rescale_acts_by_decoder_norm` scales W_enc and b_enc by the decoder norms and W_dec by their inverse.
 * Throws InputError naming the field.
 */
export function canonicalSae(sae: LoadedSae, dModel: number): CanonicalSae {
  const { dIn, dSae } = sae;
  if (dIn !== dModel) throw new InputError("the SAE reads another width than the model's residual", { field: "d_in", got: dIn, wanted: dModel });
  if (!Number.isSafeInteger(dSae) || dSae < 1) throw new InputError("an SAE has features", { field: "d_sae", got: dSae, wanted: "an integer from 1" });
  const kind = kinds.get(sae.architecture);
  if (kind === undefined) throw new InputError("this SAE architecture cannot be run", { field: "architecture", got: sae.architecture, wanted: [...kinds.keys()].join(", ") });
  const normalisation = normalisations.get(sae.normalizeActivations);
  if (normalisation === undefined) throw new InputError("this input normalisation cannot be run; fold it first", { field: "normalize_activations", got: sae.normalizeActivations, wanted: [...normalisations.keys()].join(", ") });
  const k = kind === "topk" ? (sae.k ?? 0) : 0;
  if (kind === "topk" && (!Number.isSafeInteger(k) || k < 1 || k > dSae)) throw new InputError("a topk SAE needs k", { field: "k", got: sae.k ?? "nothing", wanted: `an integer from 1 to ${dSae}` });
  checkLength("W_enc", sae.wEnc, dSae * dIn);
  checkLength("b_enc", sae.bEnc, dSae);
  checkLength("W_dec", sae.wDec, dSae * dIn);
  checkLength("b_dec", sae.bDec, dIn);
  const threshold = kind === "jumprelu" ? sae.threshold : undefined;
  if (kind === "jumprelu") checkLength("threshold", threshold ?? new Float32Array(), dSae);
  const norms = rowNorms(sae.wDec, dSae, dIn);
  const folded = sae.rescaleActsByDecoderNorm ? foldNorms(sae, norms) : { wEnc: sae.wEnc, bEnc: sae.bEnc, wDec: sae.wDec, norms };
  const bias = sae.applyBDecToInput ? foldInputBias(folded.wEnc, folded.bEnc, sae.bDec) : folded.bEnc;
  return { dIn, dSae, kind, k, normalisation, wEnc: folded.wEnc, bias, wDec: folded.wDec, bDec: sae.bDec, threshold, decoderNorms: folded.norms };
}

function checkLength(field: string, values: Float32Array, wanted: number): void {
  if (values.length !== wanted) throw new InputError(`${field} does not fit d_sae and d_in`, { field, got: `${values.length} values`, wanted: `${wanted} values` });
}

/** Length of each of `rows` rows of width `width`. */
export function rowNorms(matrix: Float32Array, rows: number, width: number): Float32Array {
  const norms = new Float32Array(rows);
  for (let r = 0, at = 0; r < rows; r++) {
    let squares = 0;
    for (const end = at + width; at < end; at++) squares += matrix[at]! ** 2;
    norms[r] = Math.sqrt(squares);
  }
  return norms;
}

/** Least norm divided by, as SAELens'. */
const leastNorm = 1e-8;

function foldNorms(sae: LoadedSae, norms: Float32Array): { wEnc: Float32Array; bEnc: Float32Array; wDec: Float32Array; norms: Float32Array } {
  const wEnc = Float32Array.from(sae.wEnc);
  const bEnc = Float32Array.from(sae.bEnc);
  const wDec = Float32Array.from(sae.wDec);
  for (let f = 0, at = 0; f < sae.dSae; f++) {
    const norm = Math.max(norms[f]!, leastNorm);
    bEnc[f] = bEnc[f]! * norm;
    for (const end = at + sae.dIn; at < end; at++) {
      wEnc[at] = wEnc[at]! * norm;
      wDec[at] = wDec[at]! / norm;
    }
  }
  return { wEnc, bEnc, wDec, norms: rowNorms(wDec, sae.dSae, sae.dIn) };
}

function foldInputBias(wEnc: Float32Array, bEnc: Float32Array, bDec: Float32Array): Float32Array {
  const bias = new Float32Array(bEnc.length);
  const width = bDec.length;
  for (let f = 0, at = 0; f < bias.length; f++) {
    let shift = 0;
    for (let i = 0; i < width; i++, at++) shift += wEnc[at]! * bDec[i]!;
    bias[f] = bEnc[f]! - shift;
  }
  return bias;
}

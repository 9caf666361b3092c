import { stat } from "node:fs/promises";
import { join } from "node:path";
import { openSafetensors } from "@mistral-sae/tensor";
import { requireTensors } from "./tensors.ts";
import { decoderNorms, rowNorms, type SaeWeights } from "./weights.ts";

/** Least, mean and largest of a list of numbers. */
export interface Spread {
  readonly min: number;
  readonly mean: number;
  readonly max: number;
}

/** What the weights of an SAE tell without data. */
export interface WeightSummary {
  /** ‖W_dec[f]‖. */
  readonly decoderNorm: Spread;
  /** ‖W_enc[f]‖. */
  readonly encoderNorm: Spread;
  /** Cosine between a feature's encoder and decoder row. */
  readonly encoderDecoderCosine: Spread;
  readonly bEnc: Spread;
  /** ‖b_dec‖. */
  readonly bDecNorm: number;
  /** Features whose encoder or decoder row is all zeros: they do nothing. */
  readonly zeroFeatures: number;
}

/** Summarises the weights of an SAE; reads every weight once. */
export function summarizeWeights(sae: SaeWeights): WeightSummary {
  const { dIn, dSae } = sae.config;
  const decoder = decoderNorms(sae);
  const encoder = rowNorms(sae.wEnc, dIn);
  const cosines = new Float32Array(dSae);
  let zeroFeatures = 0;
  for (let f = 0; f < dSae; f++) {
    let dot = 0;
    for (let at = f * dIn; at < (f + 1) * dIn; at++) dot += sae.wEnc[at]! * sae.wDec[at]!;
    const product = decoder[f]! * encoder[f]!;
    cosines[f] = product === 0 ? 0 : dot / product;
    if (product === 0) zeroFeatures++;
  }
  return {
    decoderNorm: spreadOf(decoder),
    encoderNorm: spreadOf(encoder),
    encoderDecoderCosine: spreadOf(cosines),
    bEnc: spreadOf(sae.bEnc),
    bDecNorm: rowNorms(sae.bDec, dIn)[0]!,
    zeroFeatures,
  };
}

function spreadOf(values: Float32Array): Spread {
  let min = Infinity;
  let max = -Infinity;
  let sum = 0;
  for (const value of values) {
    min = Math.min(min, value);
    max = Math.max(max, value);
    sum += value;
  }
  return { min, mean: sum / values.length, max };
}

const SPARSITY_FILE = "sparsity.safetensors";
// A feature rarer than once in 100,000 tokens is taken for dead, one that fires on every tenth for dense.
const DEAD_RATE = 1e-5;
const DENSE_RATE = 0.1;

/** Firing rates that a SAELens folder keeps of its training. */
export interface FiringRates {
  /** Features below one in 100,000 tokens. */
  readonly dead: number;
  /** Features above one in 10 tokens. */
  readonly dense: number;
  /** Sum of the rates: features a token. */
  readonly l0: number;
}

/** Reads `sparsity.safetensors` (log10 of the firing rate of each feature) beside the weights; undefined where there is none. */
export async function readFiringRates(folder: string, dSae: number): Promise<FiringRates | undefined> {
  const file = join(folder, SPARSITY_FILE);
  const there = await stat(file).then((found) => found.isFile(), () => false);
  if (!there) return undefined;
  await using source = await openSafetensors(file);
  requireTensors(source, file, { sparsity: [dSae] }, {}, `d_sae ${dSae} in cfg.json`);
  const rates = (await source.readF32("sparsity")).map((logRate) => 10 ** logRate);
  return {
    dead: rates.filter((rate) => rate < DEAD_RATE).length,
    dense: rates.filter((rate) => rate > DENSE_RATE).length,
    l0: rates.reduce((sum, rate) => sum + rate, 0),
  };
}

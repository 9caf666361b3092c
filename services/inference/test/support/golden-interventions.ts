import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { JsonValue } from "@bufbuild/protobuf";
import type { LoadedSae } from "@mistral-sae/model";

/** An SAE of the golden data: its weights follow from the seed. */
export interface GoldenSae {
  readonly hook: string;
  readonly architecture: string;
  readonly normalize: string;
  readonly apply_b_dec: boolean;
  readonly rescale: boolean;
  readonly scale: number;
  readonly d_sae: number;
  readonly seed: number;
  readonly k?: number;
  readonly threshold?: number;
}

/** What one intervention did. */
interface GoldenProof {
  readonly prompt_rows: number;
  readonly steps: number;
  readonly off_prompt_rows: number;
  readonly off_steps: number;
}

/** Interventions, and what a model with them did. */
export interface GoldenCase {
  readonly name: string;
  /** Messages in JSON; a vector is `{ seed, factor }`. */
  readonly interventions: readonly JsonValue[];
  /** Tokens decoded, greedily. */
  readonly tokens: readonly number[];
  /** Id of the intervention whose conditions ended it. */
  readonly ended_by: string;
  readonly proofs: readonly GoldenProof[];
}

/** The head of the golden data of tools/check/python/interventions.py, which says what the fields mean. */
export interface GoldenHead {
  readonly prompt: number[];
  readonly special_ids: number[];
  readonly spans: readonly { readonly role: string; readonly start: number; readonly end: number }[];
  readonly prompt_rows: number[];
  readonly sampled: number[];
  readonly max_tokens: number;
  readonly saes: Readonly<Record<string, GoldenSae>>;
}

/** Reads the cases; `tensors` is the file with their logits. */
export function readGoldenInterventions(): { readonly head: GoldenHead; readonly cases: readonly GoldenCase[]; readonly tensors: string } {
  const fixture = (name: string): string => fileURLToPath(new URL(`../fixtures/${name}`, import.meta.url));
  const { cases, ...head } = JSON.parse(readFileSync(fixture("interventions.json"), "utf8")) as GoldenHead & { readonly cases: GoldenCase[] };
  return { head, cases, tensors: fixture("interventions.safetensors") };
}

/** n numbers from -0.5 to 0.5: a 32-bit hash (lowbias32) of the index, as the script has it. */
function uniform(seed: number, n: number): Float32Array {
  const offset = Number((BigInt(seed) * 0x9e3779b9n) & 0xffffffffn);
  return Float32Array.from({ length: n }, (_, i) => {
    let x = (i + offset) >>> 0;
    x = Math.imul(x ^ (x >>> 16), 0x7feb352d);
    x = Math.imul(x ^ (x >>> 15), 0x846ca68b);
    return ((x ^ (x >>> 16)) >>> 8) / 2 ** 24 - 0.5;
  });
}

/** The weights of a golden SAE over rows of width `dIn`. */
export function goldenSae({ architecture, normalize, apply_b_dec, rescale, scale, d_sae, seed, k, threshold }: GoldenSae, dIn: number): LoadedSae {
  return {
    dIn,
    dSae: d_sae,
    architecture,
    k,
    wEnc: uniform(seed, d_sae * dIn).map((value) => value * scale),
    bEnc: uniform(seed + 1, d_sae),
    wDec: uniform(seed + 2, d_sae * dIn).map((value) => value * 0.25),
    bDec: uniform(seed + 3, dIn),
    threshold: threshold === undefined ? undefined : new Float32Array(d_sae).fill(threshold),
    normalizeActivations: normalize,
    applyBDecToInput: apply_b_dec,
    rescaleActsByDecoderNorm: rescale,
  };
}

/** A message with its vectors written out as tensors. */
export function withVectors(json: JsonValue, dModel: number): JsonValue {
  if (typeof json !== "object" || json === null) return json;
  if (Array.isArray(json)) return json.map((item) => withVectors(item, dModel));
  const { seed, factor = 1 } = json;
  if (typeof seed === "number" && typeof factor === "number") {
    const values = uniform(seed, dModel).map((value) => value * factor);
    return { dtype: "DATA_TYPE_F32", shape: [dModel], data: Buffer.from(values.buffer).toString("base64") };
  }
  return Object.fromEntries(Object.entries(json).map(([key, value]) => [key, withVectors(value, dModel)]));
}

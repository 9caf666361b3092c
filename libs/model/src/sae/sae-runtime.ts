import { InputError, rowBounds, type SparseRows } from "@mistral-sae/tensor";
import type { Neighbour, SaeInfo, SaeSide } from "../engine.ts";
import { canonicalSae, rowNorms, type CanonicalSae } from "./canonical.ts";
import type { EncoderSessions } from "./encoder-session.ts";
import { FeatureReader } from "./feature-reader.ts";
import type { LoadedSae } from "./loaded-sae.ts";
import { type Asked, keeps } from "./membership.ts";
import { firstColumns, joinMisses, missesOfDense, missesOfTopK, type NearMissRows, requireNearMisses } from "./near-misses.ts";
import { nearestRows, type NeighbourRows } from "./neighbours.ts";
import { normalise, type NormalisedRows } from "./normalise.ts";
import { codesOfDense, codesOfTopK, joinCodes } from "./sparse-builder.ts";

/** Pre-activations of one run at most, bytes: they are written and read once, and should not leave the caches far. */
const preActivationBytes = 64 << 20;

/** Codes of rows with what turns them back. */
export interface Encoded {
  readonly code: SparseRows;
  readonly input: NormalisedRows;
  /** When they were asked for. */
  readonly nearMisses?: NearMissRows;
}

/** A loaded SAE. */
export class SaeRuntime {
  readonly name: string;
  readonly sae: CanonicalSae;
  readonly reader: FeatureReader;
  readonly #sessions: EncoderSessions;
  #encoderNorms: Float32Array | undefined;

  constructor(name: string, weights: LoadedSae, dModel: number, sessions: EncoderSessions) {
    this.name = name;
    this.sae = canonicalSae(weights, dModel);
    this.reader = new FeatureReader(this.sae);
    this.#sessions = sessions;
  }

  get info(): SaeInfo {
    const { dIn, dSae, decoderNorms } = this.sae;
    return { dIn, dSae, wDecNormMean: decoderNorms.reduce((sum, norm) => sum + norm, 0) / dSae };
  }

  /** Codes of residual rows [n, dIn], the strongest `most` a row (0: all), and so many near-misses a row. */
  async encode(rows: Float32Array, n: number, most = 0, nearMisses = 0): Promise<Encoded> {
    const { dIn, dSae, kind, k, normalisation } = this.sae;
    if (nearMisses > 0) requireNearMisses(this.sae, nearMisses);
    const input = normalise(rows, n, dIn, normalisation);
    const run = Math.max(1, Math.floor(preActivationBytes / (dSae * Float32Array.BYTES_PER_ELEMENT)));
    const keep = most === 0 ? k : Math.min(most, k);
    const width = nearMisses === 0 ? keep : Math.min(dSae, k + nearMisses);
    const parts: SparseRows[] = [];
    const missed: NearMissRows[] = [];
    for (let start = 0; start < n; start += run) {
      const count = Math.min(run, n - start);
      const part = input.rows.subarray(start * dIn, (start + count) * dIn);
      if (kind === "topk") {
        const { values, indices } = await this.#sessions.topK(this.sae, part, count, width);
        if (nearMisses > 0) missed.push(missesOfTopK(values, indices, count, width, k, dSae));
        parts.push(codesOfTopK(firstColumns(values, width, keep), firstColumns(indices, width, keep), count, keep, dSae));
      } else {
        const pre = await this.#sessions.dense(this.sae.wEnc, this.sae.bias, part, count, dIn);
        if (nearMisses > 0) missed.push(missesOfDense(pre, count, this.sae, nearMisses));
        parts.push(codesOfDense(pre, count, this.sae, most));
      }
    }
    if (parts.length === 0) parts.push({ nTokens: 0, k: keep, dSae, indices: new Uint32Array(), values: new Float32Array() });
    if (nearMisses === 0) return { code: joinCodes(parts), input };
    return { code: joinCodes(parts), input, nearMisses: joinMisses(missed, nearMisses, dSae) };
  }

  /** Whether TopK keeps features of residual rows [n, dIn], 1 or 0; topk SAEs only. */
  async keeps(rows: Float32Array, n: number, asked: readonly Asked[]): Promise<Uint8Array> {
    return await keeps(this.sae, this.#sessions, rows, n, asked);
  }

  /** W_decᵀ · code + b_dec of each row, in normalised space, [nTokens, dIn]. */
  decode(code: SparseRows): Float32Array {
    const { dIn, dSae, wDec, bDec } = this.sae;
    if (code.dSae !== dSae) throw new InputError("the code belongs to an SAE of another width", { field: "d_sae", got: code.dSae, wanted: dSae });
    const out = new Float32Array(code.nTokens * dIn);
    for (let row = 0; row < code.nTokens; row++) {
      const line = out.subarray(row * dIn, (row + 1) * dIn);
      line.set(bDec);
      const [start, end] = rowBounds(code, row);
      for (let pair = start; pair < end; pair++) {
        const feature = code.indices[pair]!;
        if (feature >= dSae) throw new InputError("feature out of range", { field: "feature_indices", got: feature, wanted: `below ${dSae}` });
        addScaled(line, wDec, feature * dIn, code.values[pair]!);
      }
    }
    return out;
  }

  /** The decoder row of a feature, a view. Throws InputError when there is no such feature. */
  decoderRow(feature: number, field = "feature_index"): Float32Array {
    return this.#row(this.sae.wDec, feature, field);
  }

  /** Rows of one side, in the order asked for, [features, dIn]. */
  directions(features: readonly number[], side: SaeSide): Float32Array {
    const out = new Float32Array(features.length * this.sae.dIn);
    const matrix = side === "encoder" ? this.sae.wEnc : this.sae.wDec;
    for (const [i, feature] of features.entries()) out.set(this.#row(matrix, feature, "feature_indices"), i * this.sae.dIn);
    return out;
  }

  /** Features whose rows have the largest cosine with a vector or with another feature's row. */
  async nearest(query: Float32Array | number, side: SaeSide, count: number): Promise<Neighbour[]> {
    const { dIn, dSae, wEnc, wDec, decoderNorms } = this.sae;
    const matrix = side === "encoder" ? wEnc : wDec;
    const vector = typeof query === "number" ? this.#row(matrix, query, "feature_index") : query;
    if (vector.length !== dIn) throw new InputError("the vector has another width than the SAE's input", { field: "vector", got: vector.length, wanted: dIn });
    const [length = 0] = rowNorms(vector, 1, dIn);
    if (!(length > 0 && length < Infinity)) throw new InputError("the vector has no direction", { field: "vector", got: `length ${length}`, wanted: "a finite length above 0" });
    if (side === "encoder") this.#encoderNorms ??= rowNorms(wEnc, dSae, dIn);
    const norms = side === "encoder" ? this.#encoderNorms : decoderNorms;
    const dots = await this.#sessions.dense(matrix, new Float32Array(dSae), vector, 1, dIn);
    const found: Neighbour[] = [];
    for (let feature = 0; feature < dSae; feature++) {
      const norm = norms?.[feature] ?? 0;
      if (feature !== query && norm > 0) found.push({ feature, cosine: dots[feature]! / (norm * length) });
    }
    return found.sort((a, b) => b.cosine - a.cosine || a.feature - b.feature).slice(0, count);
  }

  /** The `count` neighbours of each feature from `start` up to `end` among all, exactly. */
  async neighbours(start: number, end: number, side: SaeSide, count: number): Promise<NeighbourRows> {
    const { wEnc, wDec, decoderNorms, dIn, dSae } = this.sae;
    if (side === "encoder") this.#encoderNorms ??= rowNorms(wEnc, dSae, dIn);
    return await nearestRows(this.#sessions, side === "encoder" ? { matrix: wEnc, norms: this.#encoderNorms!, dIn } : { matrix: wDec, norms: decoderNorms, dIn }, start, end, count);
  }

  #row(matrix: Float32Array, feature: number, field: string): Float32Array {
    const { dIn, dSae } = this.sae;
    if (!Number.isSafeInteger(feature) || feature < 0 || feature >= dSae) throw new InputError("there is no such feature", { field, got: feature, wanted: `0 to ${dSae - 1}` });
    return matrix.subarray(feature * dIn, (feature + 1) * dIn);
  }
}

/** line += factor · matrix[at, at + line.length) */
export function addScaled(line: Float32Array, matrix: Float32Array, at: number, factor: number): void {
  for (let i = 0; i < line.length; i++) line[i] = line[i]! + factor * matrix[at + i]!;
}

/** Activation of one feature in row `row` of codes. */
export function activationIn(code: SparseRows, row: number, feature: number): number {
  const [start, end] = rowBounds(code, row);
  for (let pair = start; pair < end; pair++) if (code.indices[pair] === feature) return code.values[pair]!;
  return 0;
}

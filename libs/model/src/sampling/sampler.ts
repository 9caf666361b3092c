import { InputError, topK } from "@mistral-sae/tensor";
import { argmax } from "./distribution.ts";
import { mostLogprobs, type SamplingParams } from "./params.ts";
import { uniform } from "./philox.ts";

/** What penalties look at. */
export interface TokenHistory {
  /** All tokens so far; those from `promptLength` on were generated. */
  readonly tokens: Uint32Array;
  readonly promptLength: number;
}

/** Throws InputError naming the parameter that is out of its range. */
export function checkSampling(params: SamplingParams): void {
  const check = (field: keyof SamplingParams, holds: boolean, wanted: string): void => {
    if (!holds) throw new InputError("a sampling parameter is out of range", { field, got: params[field], wanted });
  };
  check("temperature", params.temperature >= 0 && params.temperature < Infinity, "a number from 0");
  check("topP", params.topP > 0 && params.topP <= 1, "a number above 0, at most 1");
  check("topK", Number.isSafeInteger(params.topK) && params.topK >= 0, "an integer from 0");
  check("minP", params.minP >= 0 && params.minP <= 1, "a number from 0 to 1");
  check("repetitionPenalty", params.repetitionPenalty > 0 && params.repetitionPenalty < Infinity, "a number above 0");
  check("presencePenalty", Number.isFinite(params.presencePenalty), "a finite number");
  check("frequencyPenalty", Number.isFinite(params.frequencyPenalty), "a finite number");
  check("seed", params.seed >= 0n && params.seed < 2n ** 64n, "0 to 2^64 - 1");
  check("nLogprobs", Number.isSafeInteger(params.nLogprobs) && params.nLogprobs >= 0 && params.nLogprobs <= mostLogprobs, `an integer from 0 to ${mostLogprobs}`);
}

/**
 * Chooses tokens from rows of logits. Order of the filters: penalties, temperature, top_k, top_p of what is left,
 * min_p; then one uniform number picks from the rest, likeliest first. Owns scratch memory for one row.
 * Throws an Error when the logits are not finite.
 */
export class Sampler {
  readonly #penalised: Float32Array;
  readonly #weights: Float64Array;
  readonly #ids: Uint32Array;
  readonly #sorted: Float32Array;

  constructor(dVocab: number) {
    this.#penalised = new Float32Array(dVocab);
    this.#weights = new Float64Array(dVocab);
    this.#ids = new Uint32Array(dVocab);
    this.#sorted = new Float32Array(dVocab);
  }

  /** The token chosen from `logits` at step `t` of its stream. `logits` is left as it is. */
  choose(logits: Float32Array, params: SamplingParams, history: TokenHistory, t: number): number {
    const row = this.#penalise(logits, params, history);
    const likeliest = argmax(row);
    if (!Number.isFinite(row[likeliest])) throw new Error(`the model gave logits that are not finite (${row[likeliest]} for token ${likeliest})`);
    if (params.temperature === 0) return likeliest;
    const draw = uniform(params.seed, t);
    const filtered = (params.topK > 0 && params.topK < row.length) || params.topP < 1 || params.minP > 0;
    const top = row[likeliest]!;
    return filtered ? this.#chooseFiltered(row, top, params, draw) : this.#chooseAny(row, top, params.temperature, draw);
  }

  #penalise(logits: Float32Array, params: SamplingParams, history: TokenHistory): Float32Array {
    const { repetitionPenalty, presencePenalty, frequencyPenalty } = params;
    if (repetitionPenalty === 1 && presencePenalty === 0 && frequencyPenalty === 0) return logits;
    const row = this.#penalised;
    row.set(logits);
    if (repetitionPenalty !== 1) {
      for (const token of new Set(history.tokens)) row[token] = row[token]! > 0 ? row[token]! / repetitionPenalty : row[token]! * repetitionPenalty;
    }
    const seen = new Set<number>();
    for (const token of history.tokens.subarray(history.promptLength)) {
      row[token] = row[token]! - frequencyPenalty - (seen.has(token) ? 0 : presencePenalty);
      seen.add(token);
    }
    return row;
  }

  #chooseAny(row: Float32Array, top: number, temperature: number, draw: number): number {
    let sum = 0;
    for (let i = 0; i < row.length; i++) sum += this.#weights[i] = Math.exp((row[i]! - top) / temperature);
    return pick(this.#weights, row.length, draw * sum);
  }

  #chooseFiltered(row: Float32Array, top: number, { temperature, topK: k, topP, minP }: SamplingParams, draw: number): number {
    let kept = k > 0 ? Math.min(k, row.length) : row.length;
    const weight = (logit: number): number => Math.exp((logit - top) / temperature);
    let sum = 0;
    let sorted = 0;
    if (kept < row.length) {
      sorted = topK(row, kept, this.#ids, this.#sorted);
      kept = sorted;
      for (let i = 0; i < kept; i++) sum += weight(this.#sorted[i]!);
    } else if (topP < 1) {
      for (let i = 0; i < row.length; i++) sum += weight(row[i]!);
    }
    // The nucleus is nearly always a small part of the vocabulary: sort a little, and more only if it does not suffice.
    for (let tryFor = 64; ; tryFor *= 8) {
      if (sorted < kept) sorted = topK(row, Math.min(tryFor, kept), this.#ids, this.#sorted);
      let mass = 0;
      let count = 0;
      let enough = sorted >= kept || tryFor >= kept;
      while (count < sorted) {
        const w = weight(this.#sorted[count]!);
        if (count > 0 && ((topP < 1 && mass >= topP * sum) || w < minP)) {
          enough = true;
          break;
        }
        this.#weights[count++] = w;
        mass += w;
      }
      if (enough) return this.#ids[pick(this.#weights, count, draw * mass)]!;
    }
  }
}

/** First index whose cumulative weight exceeds `target`. */
function pick(weights: Float64Array, count: number, target: number): number {
  let rest = target;
  let last = 0;
  for (let i = 0; i < count; i++) {
    if (weights[i]! <= 0) continue;
    last = i;
    rest -= weights[i]!;
    if (rest < 0) return i;
  }
  return last;
}

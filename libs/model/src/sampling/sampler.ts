import { InputError, topK } from "@mistral-sae/tensor";
import { argmax } from "./distribution.ts";
import { expNonPositive } from "./exp.ts";
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
  check("logitBias", params.logitBias?.every(([token, bias]) => Number.isSafeInteger(token) && token >= 0 && Number.isFinite(bias)) !== false, "pairs of a token id and a finite number");
  check("seed", params.seed >= 0n && params.seed < 2n ** 64n, "0 to 2^64 - 1");
  check("nLogprobs", Number.isSafeInteger(params.nLogprobs) && params.nLogprobs >= 0 && params.nLogprobs <= mostLogprobs, `an integer from 0 to ${mostLogprobs}`);
}

/**
 * Chooses tokens from rows of logits. Order of the filters: logit_bias, penalties, temperature, top_k, top_p of what is left,
 * min_p; then one uniform number picks from the rest, likeliest first. Owns scratch memory for one row.
 * Throws an Error when the logits are not finite.
 */
export class Sampler {
  readonly #penalised: Float32Array;
  readonly #weights: Float64Array;
  readonly #ids: Uint32Array;
  readonly #sorted: Float64Array;
  readonly #largest: Float32Array;

  constructor(dVocab: number) {
    if (dVocab > idRange) throw new InputError("the vocabulary is too large to sample from", { field: "vocab_size", got: dVocab, wanted: `at most ${idRange}` });
    this.#penalised = new Float32Array(dVocab);
    this.#weights = new Float64Array(dVocab);
    this.#ids = new Uint32Array(dVocab);
    this.#sorted = new Float64Array(dVocab);
    this.#largest = new Float32Array(dVocab);
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
    const { repetitionPenalty, presencePenalty, frequencyPenalty, logitBias } = params;
    if (repetitionPenalty === 1 && presencePenalty === 0 && frequencyPenalty === 0 && logitBias === undefined) return logits;
    const row = this.#penalised;
    row.set(logits);
    if (logitBias !== undefined) for (const [token, bias] of logitBias) row[token] = row[token]! + bias;
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
    return pick(this.#weights, row.length, draw * this.#weigh(row, top, temperature));
  }

  #chooseFiltered(row: Float32Array, top: number, { temperature, topK: k, topP, minP }: SamplingParams, draw: number): number {
    const sorted = k > 0 && k < row.length ? this.#sortLargest(row, top, temperature, k) : this.#sortNucleus(row, top, temperature, topP, minP);
    let sum = sorted.sum;
    if (k > 0 && k < row.length) {
      sum = 0;
      for (let i = 0; i < sorted.count; i++) sum += this.#sorted[i]!;
    }
    let mass = 0;
    let kept = 0;
    const enough = topP === 1 ? Infinity : topP * sum;
    while (kept < sorted.count && (kept === 0 || (mass < enough && this.#sorted[kept]! >= minP))) mass += this.#sorted[kept++]!;
    return this.#ids[pick(this.#sorted, kept, draw * mass)]!;
  }

  /**
   * Sorts the first `count` ids by their logits, largest first, equal ones by id. The bits of a float32 rise with it once
   * the sign is turned around, and fit a double together with the id: numbers sort several times as fast as with a
   * function that compares.
   */
  #sortIds(row: Float32Array, count: number): void {
    const bits = new Uint32Array(row.buffer, row.byteOffset, row.length);
    const keys = this.#sorted.subarray(0, count);
    for (let i = 0; i < count; i++) {
      const id = this.#ids[i]!;
      const value = bits[id]!;
      const falling = value >= 2 ** 31 ? value : 2 ** 31 - 1 - value;
      keys[i] = falling * idRange + id;
    }
    keys.sort();
    for (let i = 0; i < count; i++) this.#ids[i] = keys[i]! % idRange;
  }

  /** Weights of a row, relative to the likeliest token's 1; returns their sum. */
  #weigh(row: Float32Array, top: number, temperature: number): number {
    const inverse = 1 / temperature;
    let sum = 0;
    for (let i = 0; i < row.length; i++) sum += this.#weights[i] = expNonPositive((row[i]! - top) * inverse);
    return sum;
  }

  #sortLargest(row: Float32Array, top: number, temperature: number, k: number): { count: number; sum: number } {
    const count = topK(row, k, this.#ids, this.#largest);
    for (let i = 0; i < count; i++) this.#sorted[i] = expNonPositive((this.#largest[i]! - top) / temperature);
    return { count, sum: 0 };
  }

  /**
   * The likeliest tokens with their weights, descending: at least those that topP and minP keep. The nucleus is nearly
   * always a small part of the vocabulary, so only tokens above a bar are sorted, and the bar falls until they suffice.
   */
  #sortNucleus(row: Float32Array, top: number, temperature: number, topP: number, minP: number): { count: number; sum: number } {
    const sum = this.#weigh(row, top, temperature);
    const weights = this.#weights;
    for (let bar = Math.max(minP, 2 ** -8); ; bar = Math.max(minP, bar < 2 ** -60 ? 0 : bar * 2 ** -6)) {
      let count = 0;
      let mass = 0;
      for (let i = 0; i < row.length; i++) {
        if (weights[i]! < bar) continue;
        this.#ids[count++] = i;
        mass += weights[i]!;
      }
      if (bar > minP && mass < topP * sum && count < row.length) continue;
      this.#sortIds(row, count);
      for (let i = 0; i < count; i++) this.#sorted[i] = weights[this.#ids[i]!]!;
      return { count, sum };
    }
  }
}

/** Ids lie below it; 32 bits of a logit times it are still exact in a double. */
const idRange = 2 ** 21;

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

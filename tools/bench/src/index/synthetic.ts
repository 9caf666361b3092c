import { bf16Bits } from "@mistral-sae/tensor";

/** Sizes of what is made up. */
export interface Shape {
  readonly dSae: number;
  readonly k: number;
  readonly dVocab: number;
  readonly dIn: number;
  /** Tokens of a window, BOS included. */
  readonly contextSize: number;
}

export const BOS = 1;
/** Ids below this are special. */
export const FIRST_WORD = 3;

/** A number in [0, 2^32) that depends on all keys alone. */
export function hash(...keys: readonly number[]): number {
  let state = 0x9e3779b9;
  for (const key of keys) {
    state = Math.imul(state ^ key, 0x85ebca6b);
    state ^= state >>> 13;
    state = Math.imul(state, 0xc2b2ae35);
    state ^= state >>> 16;
  }
  return state >>> 0;
}

/** Xorshift; fast, and good enough to draw from tables. */
function next(state: number): number {
  let x = state | 0;
  x ^= x << 13;
  x ^= x >>> 17;
  x ^= x << 5;
  return x;
}

/** Draws ranks with weight (rank + offset)^-exponent by a table of quantiles. */
function zipfTable(n: number, offset: number, exponent: number): Uint32Array {
  const weights = Float64Array.from({ length: n }, (_, rank) => (rank + 1 + offset) ** -exponent);
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const table = new Uint32Array(TABLE);
  let rank = 0;
  let below = weights[0]! / total;
  for (let i = 0; i < TABLE; i++) {
    while (below < (i + 0.5) / TABLE && rank < n - 1) below += weights[++rank]! / total;
    table[i] = rank;
  }
  return table;
}

const TABLE_BITS = 20;
const TABLE = 1 << TABLE_BITS;
const WORD_BITS = 16;
const POOL = 256;
/** Features that a token's id decides. */
const OWN = 48;
const DEAD_SHARE = 0.08;

/** Words of documents: zipf-distributed ids from FIRST_WORD on. */
export class SyntheticText {
  readonly #table: Uint32Array;

  constructor({ dVocab }: Shape) {
    this.#table = zipfTable(dVocab - FIRST_WORD, 10, 1.05);
  }

  /** Ids of a document; its length depends on its number too, 60 to 500 tokens. */
  document(doc: number): Uint32Array {
    const ids = new Uint32Array(60 + (hash(doc, 1) % 441));
    let state = hash(doc, 2) | 1;
    for (let i = 0; i < ids.length; i++) {
      state = next(state);
      ids[i] = FIRST_WORD + this.#table[state >>> (32 - TABLE_BITS)]!;
    }
    return ids;
  }
}

/** Rows of code, `k` pairs a token. */
export interface Rows {
  readonly indices: Uint32Array<ArrayBuffer>;
  /** bfloat16 bits. */
  readonly acts: Uint16Array<ArrayBuffer>;
}

/**
 * Codes with zipf-distributed features, 8% of them dead, and log-normal activations. Of a token's k features three eighths are drawn
 * from all, three eighths from its window's topic, and a quarter from those that its id prefers. The same window has the same code.
 */
export class SyntheticCodes {
  readonly #shape: Shape;
  readonly #featureAt: Uint32Array;
  readonly #values: Float32Array;
  readonly #scales: Float32Array;
  readonly #lastToken: Uint32Array;
  readonly #pool = new Uint32Array(POOL);
  readonly #f32 = new Float32Array(1);
  readonly #bits = new Uint32Array(this.#f32.buffer);
  #tokens = 0;

  constructor(shape: Shape) {
    this.#shape = shape;
    const { dSae } = shape;
    // A feature's rank by its number: an odd multiplier permutes the powers of two that dSae is.
    const ranks = zipfTable(Math.ceil(dSae * (1 - DEAD_SHARE)), 60, 0.95);
    this.#featureAt = ranks.map((rank) => (Math.imul(rank, 0x9e3779b1) >>> 0) % dSae);
    this.#values = Float32Array.from({ length: 1 << WORD_BITS }, (_, i) => Math.exp(0.8 * normalQuantile((i + 0.5) / (1 << WORD_BITS))));
    this.#scales = Float32Array.from({ length: dSae }, (_, feature) => Math.exp(0.6 * normalQuantile((hash(feature, 3) + 0.5) / 2 ** 32)));
    this.#lastToken = new Uint32Array(dSae);
  }

  /** The code of a window, written behind `at` tokens' rows. */
  window(tokens: ArrayLike<number>, rows: Rows, at: number): void {
    const { k } = this.#shape;
    let key = 17;
    for (let i = 0; i < tokens.length; i++) key = (Math.imul(key, 0x01000193) ^ tokens[i]!) | 0;
    let state = hash(key, 5) | 1;
    const shift = 32 - TABLE_BITS;
    for (let i = 0; i < POOL; i++) {
      state = next(state);
      this.#pool[i] = this.#featureAt[state >>> shift]!;
    }
    const [fromPool, fromToken] = [(3 * k) >> 3, k >> 2];
    for (let t = 0; t < tokens.length; t++) {
      const token = ++this.#tokens;
      const own = Math.imul(tokens[t]!, 0x2545f491);
      const start = (at + t) * k;
      for (let i = 0; i < k; ) {
        state = next(state);
        const high = state >>> shift;
        let feature: number;
        if (i < fromToken) feature = this.#featureAt[Math.imul(own + (high % OWN), 0x9e3779b1) >>> shift]!;
        else if (i < fromToken + fromPool) feature = this.#pool[high % POOL]!;
        else feature = this.#featureAt[high]!;
        if (this.#lastToken[feature] === token) continue;
        this.#lastToken[feature] = token;
        rows.indices[start + i] = feature;
        state = next(state);
        this.#f32[0] = this.#values[state >>> (32 - WORD_BITS)]! * this.#scales[feature]!;
        rows.acts[start + i] = this.#bits[0]! >>> 16;
        i += 1;
      }
    }
  }
}

/** Rows for so many tokens. */
export function rowsFor(tokens: number, k: number): Rows {
  return { indices: new Uint32Array(tokens * k), acts: new Uint16Array(tokens * k) };
}

/** Decoder row of a feature, f32. */
export function direction(feature: number, dIn: number): Float32Array {
  return Float32Array.from({ length: dIn }, (_, i) => hash(feature, i, 77) / 2 ** 31 - 1);
}

/** Tokens that a feature promotes (or suppresses), strongest first. */
export function logits(feature: number, topK: number, side: 1 | -1, dVocab: number): { readonly ids: number[]; readonly values: number[] } {
  const ids = Array.from({ length: topK }, (_, i) => (hash(feature, side, 11) + i * 977) % dVocab);
  return { ids, values: ids.map((_, i) => side * (4 - 0.1 * i - (hash(feature, 13) % 100) / 1_000)) };
}

export function tokenText(id: number): string {
  return id < FIRST_WORD ? `<${id}>` : ` w${id.toString(36)}`;
}

export function tokenId(word: string): number {
  return Number.parseInt(word.slice(1), 36);
}

/** Value below which a normal variable falls with this probability, by bisection. */
function normalQuantile(p: number): number {
  let [low, high] = [-8, 8];
  for (let i = 0; i < 40; i++) {
    const middle = (low + high) / 2;
    if (normalShare(middle) < p) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

/** Share of a normal variable below x, Abramowitz and Stegun 26.2.17. */
function normalShare(x: number): number {
  const t = 1 / (1 + 0.2316419 * Math.abs(x));
  const tail = (Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI)) * t * (0.31938153 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))));
  return x > 0 ? 1 - tail : tail;
}

/** A token's activation in the precision that is stored. */
export function storedValue(value: number): number {
  const bits = new Uint32Array([bf16Bits(value) << 16]);
  return new Float32Array(bits.buffer)[0]!;
}

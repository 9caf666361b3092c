import { TextIndex } from "../words/bm25.ts";
import { VectorRows } from "./vector-rows.ts";

/** An explanation's text as the tables have it. */
export interface TextRow {
  readonly feature: number;
  readonly name: string;
  readonly description: string;
  /** Low 32 bits of the description's hash. */
  readonly hash: number;
}

/** A vector, and the hash of the text that it was made from. */
export interface VectorRow {
  readonly feature: number;
  readonly name: string;
  readonly hash: number;
  readonly vector: Float32Array;
}

// A key, its entry in a map, and three numbers.
const BYTES_A_ROW = 220;

/** The explanations of an SAE, by their words and by their vectors. */
export class ExplanationRows {
  readonly #text = new TextIndex();
  readonly vectors: VectorRows;
  readonly #rows = new Map<string, number>();
  readonly #features: number[] = [];
  readonly #hashes: number[] = [];
  /** Rows that have a vector; one of a text without any known word has no values. */
  readonly #embedded = new Set<number>();

  /** `expected`: about how many there are. */
  constructor(expected: number) {
    this.vectors = new VectorRows(expected);
  }

  /** Explanations without a vector. */
  get nPending(): number {
    return this.#rows.size - this.#embedded.size;
  }

  get nVectors(): number {
    return this.#embedded.size;
  }

  get bytes(): number {
    return this.#text.bytes + this.vectors.bytes + BYTES_A_ROW * this.#features.length;
  }

  /** Takes an explanation in, in place of the one of the same name; a text that has changed loses its vector. */
  putText({ feature, name, description, hash }: TextRow): void {
    const key = `${feature}/${name}`;
    const before = this.#rows.get(key);
    if (before !== undefined) {
      if (this.#hashes[before] === hash) return;
      this.#text.remove(before);
      if (this.#embedded.delete(before)) this.vectors.clear(before);
    }
    this.#rows.delete(key);
    // An explanation without words is found by nothing.
    if (description === "") return;
    const row = this.#text.add(description);
    this.#rows.set(key, row);
    this.#features[row] = feature;
    this.#hashes[row] = hash;
  }

  /** A vector of another text, or of an explanation that is not there, is passed over. */
  putVector({ feature, name, hash, vector }: VectorRow): void {
    const row = this.#rows.get(`${feature}/${name}`);
    if (row === undefined || this.#hashes[row] !== hash) return;
    this.#embedded.add(row);
    if (vector.length > 0) this.vectors.set(row, vector);
  }

  /** Calls `found` with each feature whose explanation has any of the stems. */
  byWords(stems: readonly string[], found: (feature: number, score: number) => void): void {
    this.#text.search(stems, (row, score) => found(this.#features[row] as number, score));
  }

  /** The feature of a row. */
  featureOf(row: number): number | undefined {
    return this.#features[row];
  }
}

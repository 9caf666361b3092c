import { stem, wordsOf } from "./words.ts";

const K1 = 1.2;
const B = 0.75;
const FIRST_ROWS = 1_024;

/**
 * Texts by their words' stems, ranked by Okapi BM25: Robertson & Zaragoza, The Probabilistic Relevance Framework (2009), eq. 3.15.
 * A text is a row; rows are numbered as they are added and may be taken away. About 8 bytes a word.
 */
export class TextIndex {
  /** Rows of each stem, ascending, as often as the text has the word. */
  readonly #rows = new Map<string, number[]>();
  #lengths = new Uint16Array(FIRST_ROWS);
  #gone = new Uint8Array(FIRST_ROWS);
  #nRows = 0;
  #nTexts = 0;
  #words = 0;
  #entries = 0;

  /** Rows that were ever added. */
  get nRows(): number {
    return this.#nRows;
  }

  /** Memory that the words take, about. */
  get bytes(): number {
    return 8 * this.#entries + 64 * this.#rows.size + 3 * this.#gone.length;
  }

  /** Returns the text's row. */
  add(text: string): number {
    const row = this.#nRows++;
    if (row === this.#gone.length) this.#grow();
    const words = wordsOf(text);
    for (const word of words) {
      const key = stem(word);
      const rows = this.#rows.get(key);
      if (rows === undefined) this.#rows.set(key, [row]);
      else rows.push(row);
    }
    this.#lengths[row] = words.length;
    this.#nTexts += 1;
    this.#words += words.length;
    this.#entries += words.length;
    return row;
  }

  remove(row: number): void {
    if (this.#gone[row] === 1) return;
    this.#gone[row] = 1;
    this.#nTexts -= 1;
    this.#words -= this.#lengths[row] as number;
  }

  /** Calls `found` with each row that has any of the stems, and its score above 0. */
  search(stems: readonly string[], found: (row: number, score: number) => void): void {
    const scores = new Map<number, number>();
    const meanLength = Math.max(1, this.#words / Math.max(1, this.#nTexts));
    for (const key of new Set(stems)) {
      const counts = new Map<number, number>();
      for (const row of this.#rows.get(key) ?? []) if (this.#gone[row] === 0) counts.set(row, (counts.get(row) ?? 0) + 1);
      const idf = Math.log(1 + (this.#nTexts - counts.size + 0.5) / (counts.size + 0.5));
      for (const [row, count] of counts) {
        const norm = K1 * (1 - B + (B * (this.#lengths[row] as number)) / meanLength);
        scores.set(row, (scores.get(row) ?? 0) + (idf * count * (K1 + 1)) / (count + norm));
      }
    }
    for (const [row, score] of scores) found(row, score);
  }

  #grow(): void {
    const lengths = new Uint16Array(2 * this.#lengths.length);
    lengths.set(this.#lengths);
    this.#lengths = lengths;
    const gone = new Uint8Array(2 * this.#gone.length);
    gone.set(this.#gone);
    this.#gone = gone;
  }
}

import { InputError } from "@mistral-sae/tensor";
import { Merger } from "./merger.ts";
import type { BpeModel } from "./model.ts";
import { PairTable } from "./pair-table.ts";

/** Words of a text repeat; longer ones hardly do. */
const LONGEST_KEPT = 48;
/** Enough for most of a corpus' words; a full cache starts anew. */
const KEPT_WORDS = 1 << 15;

/** Ids that grow at the end. */
export class IdBuffer {
  #ids = new Uint32Array(1 << 10);
  length = 0;

  push(id: number): void {
    if (this.length === this.#ids.length) this.#grow(this.length + 1);
    this.#ids[this.length++] = id;
  }

  append(ids: Uint32Array | Int32Array, count: number): void {
    if (this.length + count > this.#ids.length) this.#grow(this.length + count);
    for (let i = 0; i < count; i++) this.#ids[this.length + i] = ids[i]!;
    this.length += count;
  }

  /** A copy of what was pushed since the last call. */
  take(): Uint32Array<ArrayBuffer> {
    const ids = this.#ids.slice(0, this.length);
    this.length = 0;
    return ids;
  }

  #grow(least: number): void {
    const grown = new Uint32Array(Math.max(least, 2 * this.#ids.length));
    grown.set(this.#ids);
    this.#ids = grown;
  }
}

/** Turns words into tokens and remembers the short ones. */
export class WordEncoder {
  readonly #model: BpeModel;
  readonly #merger: Merger;
  readonly #known = new Map<string, Uint32Array>();
  readonly #utf8 = new TextEncoder();
  #scratch = new Uint8Array(256);
  /** UTF-16 end of each symbol; kept only where asked for. */
  #ends: number[] = [];

  constructor(model: BpeModel) {
    this.#model = model;
    this.#merger = new Merger(new PairTable(model.pairs));
  }

  /** Appends the tokens of a word. @throws InputError for a character that the vocabulary has no token for. */
  encode(word: string, out: IdBuffer): void {
    const known = this.#known.get(word);
    if (known !== undefined) {
      out.append(known, known.length);
      return;
    }
    const count = this.#tokens(word, undefined);
    out.append(this.#merger.ids, count);
    if (word.length <= LONGEST_KEPT) {
      if (this.#known.size >= KEPT_WORDS) this.#known.clear();
      this.#known.set(word, Uint32Array.from(this.#merger.ids.subarray(0, count)));
    } else {
      this.#merger.release();
    }
  }

  /** The same with where each token starts and ends, in UTF-16 units of the word; `see` is called token by token. */
  encodeSpans(word: string, see: (id: number, start: number, end: number) => void): void {
    const starts: number[] = [];
    this.#ends = [];
    const count = this.#tokens(word, starts);
    const { ids, sizes } = this.#merger;
    for (let i = 0, symbol = 0; i < count; i++) {
      const last = symbol + sizes[i]! - 1;
      see(ids[i]!, starts[symbol] ?? 0, this.#ends[last] ?? word.length);
      symbol = last + 1;
    }
    this.#merger.release();
  }

  #tokens(word: string, starts: number[] | undefined): number {
    const { symbols, whole, unknown, fuseUnknown } = this.#model;
    const count = symbols.kind === "bytes" ? this.#bytes(word, symbols.ids, starts) : this.#characters(word, symbols.ids, symbols.fallback, starts);
    const merger = this.#merger;
    const one = whole.size === 0 ? undefined : whole.get(word);
    if (one !== undefined) {
      merger.ids[0] = one;
      merger.sizes[0] = count;
      return 1;
    }
    const merged = merger.merge(count);
    const { ids, sizes } = merger;
    let written = 0;
    for (let i = 0; i < merged; i++) {
      let id = ids[i]!;
      if (id < 0) {
        if (unknown === undefined) throw lacking(word);
        id = unknown;
      }
      if (fuseUnknown && id === unknown && written > 0 && ids[written - 1] === unknown) {
        sizes[written - 1] = sizes[written - 1]! + sizes[i]!;
        continue;
      }
      ids[written] = id;
      sizes[written] = sizes[i]!;
      written++;
    }
    return written;
  }

  #bytes(word: string, idOf: Int32Array, starts: number[] | undefined): number {
    if (this.#scratch.length < 3 * word.length) this.#scratch = new Uint8Array(3 * word.length);
    const { written } = this.#utf8.encodeInto(word, this.#scratch);
    this.#merger.reserve(written);
    const { ids } = this.#merger;
    for (let i = 0; i < written; i++) ids[i] = idOf[this.#scratch[i]!]!;
    if (starts !== undefined) {
      for (let at = 0; at < word.length; ) {
        const point = word.codePointAt(at)!;
        const end = at + (point > 0xffff ? 2 : 1);
        for (let n = utf8Length(point); n > 0; n--) this.#symbolSpan(starts, at, end);
        at = end;
      }
    }
    if (this.#scratch.length > 1 << 16) this.#scratch = new Uint8Array(256);
    return written;
  }

  #characters(word: string, idOf: ReadonlyMap<number, number>, fallback: Int32Array | undefined, starts: number[] | undefined): number {
    this.#merger.reserve(4 * word.length);
    const { ids } = this.#merger;
    let count = 0;
    for (let at = 0; at < word.length; ) {
      const point = word.codePointAt(at)!;
      const end = at + (point > 0xffff ? 2 : 1);
      const id = idOf.get(point);
      if (id !== undefined) {
        ids[count++] = id;
        if (starts !== undefined) this.#symbolSpan(starts, at, end);
      } else {
        const { written } = this.#utf8.encodeInto(word.slice(at, end), this.#scratch);
        let bytes = fallback === undefined ? 0 : written;
        for (let i = 0; i < bytes; i++) if (fallback![this.#scratch[i]!]! < 0) bytes = 0;
        for (let i = 0; i < Math.max(1, bytes); i++) {
          ids[count++] = bytes === 0 ? -1 : fallback![this.#scratch[i]!]!;
          if (starts !== undefined) this.#symbolSpan(starts, at, end);
        }
      }
      at = end;
    }
    return count;
  }

  #symbolSpan(starts: number[], start: number, end: number): void {
    starts.push(start);
    this.#ends.push(end);
  }
}

function utf8Length(point: number): number {
  if (point < 0x80) return 1;
  if (point < 0x800) return 2;
  return point < 0x10000 ? 3 : 4;
}

function lacking(word: string): InputError {
  return new InputError("text: holds characters that the tokenizer has no token for", { field: "text", got: JSON.stringify(word.slice(0, 40)), wanted: "characters of the vocabulary" });
}

/** What a token stands for: the bytes it adds to a text, or a control token that is shown by its name. */
export interface Piece {
  readonly bytes: Uint8Array;
  readonly special: boolean;
}

/** The tokens of a vocabulary, packed: a vocabulary of 131,072 costs four arrays and not 131,072 objects. */
export interface VocabularyTable {
  /** The bytes of all tokens by id. */
  readonly bytes: Uint8Array;
  /** Where each token's bytes start, and one more for the end. */
  readonly offsets: Uint32Array;
  /** 1 for special tokens. */
  readonly special: Uint8Array;
  /** 1 for ids that have a token. */
  readonly known: Uint8Array;
}

export function packPieces(pieces: readonly (Piece | undefined)[]): VocabularyTable {
  const offsets = new Uint32Array(pieces.length + 1);
  for (let id = 0; id < pieces.length; id++) offsets[id + 1] = offsets[id]! + (pieces[id]?.bytes.length ?? 0);
  const bytes = new Uint8Array(offsets[pieces.length]!);
  const special = new Uint8Array(pieces.length);
  const known = new Uint8Array(pieces.length);
  for (const [id, piece] of pieces.entries()) {
    if (piece === undefined) continue;
    bytes.set(piece.bytes, offsets[id]);
    special[id] = piece.special ? 1 : 0;
    known[id] = 1;
  }
  return { bytes, offsets, special, known };
}

/** The bytes of every token. Ids without a token (holes, a head padded beyond the tokenizer) have no bytes. */
export class Vocabulary {
  /** One past the largest id. */
  readonly size: number;
  /** Bytes of the longest piece, at least 1: n tokens hold at most n times as many bytes of text. */
  readonly longest: number;
  readonly #bytes: Uint8Array;
  readonly #offsets: Uint32Array;
  readonly #special: Uint8Array;
  readonly #known: Uint8Array;

  constructor({ bytes, offsets, special, known }: VocabularyTable) {
    this.size = known.length;
    this.#bytes = bytes;
    this.#offsets = offsets;
    this.#special = special;
    this.#known = known;
    let longest = 1;
    for (let id = 0; id < this.size; id++) longest = Math.max(longest, offsets[id + 1]! - offsets[id]!);
    this.longest = longest;
  }

  /** Whether a token carries this id. */
  has(id: number): boolean {
    return this.#known[id] === 1;
  }

  /** Whether the id is a special token: BOS, EOS or another control token. */
  isSpecial(id: number): boolean {
    return this.#special[id] === 1;
  }

  /** The first id whose bytes are this text. */
  idOf(text: string): number | undefined {
    const wanted = new TextEncoder().encode(text);
    for (let id = 0; id < this.size; id++) {
      const start = this.#offsets[id]!;
      if (this.#offsets[id + 1]! - start !== wanted.length || !this.has(id)) continue;
      if (wanted.every((byte, i) => byte === this.#bytes[start + i])) return id;
    }
    return undefined;
  }

  /** All ids that are special, ascending. */
  specialIds(): number[] {
    const ids: number[] = [];
    for (let id = 0; id < this.size; id++) if (this.#special[id] === 1) ids.push(id);
    return ids;
  }

  /** The bytes that the token adds to a text: a view, empty for ids without a token. */
  bytesOf(id: number): Uint8Array {
    return this.#bytes.subarray(this.#offsets[id] ?? 0, this.#offsets[id + 1] ?? 0);
  }

  /** One bit an id, least significant first: set where the id is special (TokenSequence.is_special). */
  specialBits(ids: ArrayLike<number>): Uint8Array {
    const bits = new Uint8Array((ids.length + 7) >>> 3);
    for (let i = 0; i < ids.length; i++) {
      if (this.#special[ids[i] ?? 0] === 1) bits[i >>> 3] = (bits[i >>> 3] ?? 0) | (1 << (i & 7));
    }
    return bits;
  }
}

/** What a token stands for: the bytes it adds to a text, or a control token that is shown by its name. */
export interface Piece {
  readonly bytes: Uint8Array;
  readonly special: boolean;
}

/**
 * The bytes of every token, packed into one buffer so that a vocabulary of 131,072 costs three arrays and not
 * 131,072 objects. Ids without a token (holes, a head padded beyond the tokenizer) have no bytes.
 */
export class Vocabulary {
  /** One past the largest id. */
  readonly size: number;
  /** Bytes of the longest piece, at least 1: n tokens hold at most n times as many bytes of text. */
  readonly longest: number;
  readonly #bytes: Uint8Array;
  readonly #offsets: Uint32Array;
  readonly #special: Uint8Array;
  readonly #known: Uint8Array;

  constructor(pieces: readonly (Piece | undefined)[]) {
    this.size = pieces.length;
    this.#offsets = new Uint32Array(pieces.length + 1);
    this.#special = new Uint8Array(pieces.length);
    this.#known = new Uint8Array(pieces.length);
    let total = 0;
    let longest = 1;
    for (const piece of pieces) {
      total += piece?.bytes.length ?? 0;
      longest = Math.max(longest, piece?.bytes.length ?? 0);
    }
    this.longest = longest;
    this.#bytes = new Uint8Array(total);
    let at = 0;
    for (let id = 0; id < pieces.length; id++) {
      const piece = pieces[id];
      if (piece !== undefined) {
        this.#bytes.set(piece.bytes, at);
        at += piece.bytes.length;
        this.#known[id] = 1;
        this.#special[id] = piece.special ? 1 : 0;
      }
      this.#offsets[id + 1] = at;
    }
  }

  /** Whether a token carries this id. */
  has(id: number): boolean {
    return this.#known[id] === 1;
  }

  /** Whether the id is a special token: BOS, EOS or another control token. */
  isSpecial(id: number): boolean {
    return this.#special[id] === 1;
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

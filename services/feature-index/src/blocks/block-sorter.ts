import { InputError } from "@mistral-sae/tensor";
import { BLOCK_POSITIONS } from "./block-layout.ts";
import type { BlockCode } from "./block-code.ts";
import { Growing } from "./growing.ts";

/** Windows of a block, in order. */
export interface BlockShape {
  readonly contextSize: number;
  /** Tokens of each window. */
  readonly lengths: Uint32Array;
  /** One a position of the block: 1 where a special token stands. */
  readonly special: Uint8Array;
}

/**
 * A block feature by feature. Segment i is `features[i]`, on special tokens where `special[i]`, and holds the entries
 * from `ends[i - 1]` to `ends[i]` of pos and acts, positions ascending. Segments ascend by (special, feature).
 */
export interface SortedBlock {
  readonly special: Uint8Array<ArrayBuffer>;
  readonly features: Uint32Array<ArrayBuffer>;
  readonly n: Uint32Array<ArrayBuffer>;
  readonly maxActivation: Float32Array<ArrayBuffer>;
  readonly ends: Uint32Array<ArrayBuffer>;
  readonly pos: Uint16Array<ArrayBuffer>;
  /** bfloat16 bits. */
  readonly acts: Uint16Array<ArrayBuffer>;
  /** The activations unrounded, where the codes hold them. */
  readonly actsF32: Float32Array<ArrayBuffer> | undefined;
  /** Entries on special tokens. */
  readonly nSpecial: number;
}

const LARGEST_BF16 = 0x7f7f;

/** Turns the codes of a block's tokens into its posting lists by a counting sort. Reuses its memory from block to block. */
export class BlockSorter {
  readonly #dSae: number;
  /** Position of each row, and bit 16 where its token is special. */
  readonly #rows = new Uint32Array(BLOCK_POSITIONS);
  /** Where each feature's entries start, those on special tokens after all others. */
  readonly #starts: Uint32Array;
  // An entry is written to a place far from the one before it; position and activation in one word are one such write.
  readonly #entries = new Growing((n) => new Uint32Array(n), 0);
  readonly #pos = new Growing((n) => new Uint16Array(n), 0);
  readonly #acts = new Growing((n) => new Uint16Array(n), 0);
  readonly #actsF32 = new Growing((n) => new Float32Array(n), 0);

  constructor(dSae: number) {
    this.#dSae = dSae;
    this.#starts = new Uint32Array(2 * dSae + 1);
  }

  /**
   * The block of these codes, one row a token, window after window. The entries of the result are views, valid until the
   * next call.
   * @throws InputError when rows and windows do not match, an activation is not a positive number, or a feature fires
   * twice on a token.
   */
  sort(shape: BlockShape, codes: readonly BlockCode[]): SortedBlock {
    this.#place(shape, codes);
    this.#count(codes);
    this.#scatter(codes);
    return this.#segments(shape, codes.length > 0 && codes.every(({ values }) => values !== undefined));
  }

  /** Finds the position of each row. */
  #place({ contextSize, lengths, special }: BlockShape, codes: readonly BlockCode[]): void {
    let rows = 0;
    for (const { dSae, nTokens } of codes) {
      if (dSae !== this.#dSae) throw new InputError("a code of another SAE", { field: "code.d_sae", got: dSae, wanted: this.#dSae });
      rows += nTokens;
    }
    if (lengths.length * contextSize > BLOCK_POSITIONS) throw new InputError("too many windows for a block", { field: "lengths", got: lengths.length, wanted: `at most ${Math.floor(BLOCK_POSITIONS / contextSize)}` });
    let row = 0;
    for (let window = 0; window < lengths.length; window++) {
      const first = window * contextSize;
      for (let position = first; position < first + (lengths[window] as number); position++) this.#rows[row++] = position | ((special[position] as number) << 16);
    }
    if (rows !== row) throw new InputError("rows of code and tokens in the block differ", { field: "code.n_tokens", got: rows, wanted: row });
  }

  #count(codes: readonly BlockCode[]): void {
    const starts = this.#starts.fill(0);
    let row = 0;
    for (const { nTokens, k, indices, rowOffsets } of codes) {
      let i = 0;
      for (let token = 1; token <= nTokens; token++) {
        const cell = 1 + ((this.#rows[row++] as number) >>> 16) * this.#dSae;
        const end = rowOffsets === undefined ? token * k : (rowOffsets[token] as number);
        for (; i < end; i++) starts[cell + (indices[i] as number)]! += 1;
      }
    }
    for (let cell = 1; cell < starts.length; cell++) starts[cell]! += starts[cell - 1] as number;
  }

  /** Each start moves to its segment's end while the segment fills, in the order of the tokens. */
  #scatter(codes: readonly BlockCode[]): void {
    const starts = this.#starts;
    const length = starts.at(-1) as number;
    const entries = this.#entries.room(length);
    const f32 = codes.some(({ values }) => values !== undefined) ? this.#actsF32.room(length) : undefined;
    let row = 0;
    for (const { nTokens, k, indices, acts, values, rowOffsets } of codes) {
      let i = 0;
      for (let token = 1; token <= nTokens; token++) {
        const place = this.#rows[row++] as number;
        const cell = (place >>> 16) * this.#dSae;
        const end = rowOffsets === undefined ? token * k : (rowOffsets[token] as number);
        for (; i < end; i++) {
          const to = starts[cell + (indices[i] as number)]!++;
          entries[to] = (place << 16) | (acts[i] as number);
          if (f32 !== undefined && values !== undefined) f32[to] = values[i] as number;
        }
      }
    }
  }

  #segments({ contextSize }: BlockShape, keepsFloat32: boolean): SortedBlock {
    const dSae = this.#dSae;
    const starts = this.#starts;
    const length = starts.at(-1) as number;
    let segments = 0;
    for (let cell = 0, start = 0; cell < 2 * dSae; cell++) {
      if (starts[cell] !== start) segments += 1;
      start = starts[cell] as number;
    }
    const entries = this.#entries.values;
    const pos = this.#pos.room(length).subarray(0, length);
    const acts = this.#acts.room(length).subarray(0, length);
    const block: SortedBlock = {
      special: new Uint8Array(segments),
      features: new Uint32Array(segments),
      n: new Uint32Array(segments),
      maxActivation: new Float32Array(segments),
      ends: new Uint32Array(segments),
      pos,
      acts,
      actsF32: keepsFloat32 ? this.#actsF32.values.subarray(0, length) : undefined,
      nSpecial: length - (starts[dSae - 1] as number),
    };
    const largest = new Uint32Array(segments);
    for (let cell = 0, segment = 0, start = 0; cell < 2 * dSae; cell++) {
      const end = starts[cell] as number;
      if (end === start) continue;
      let most = 0;
      let last = -1;
      for (let i = start; i < end; i++) {
        const entry = entries[i] as number;
        const at = entry >>> 16;
        const act = entry & 0xffff;
        if (act === 0 || act > LARGEST_BF16 || at === last) throw refused(cell % dSae, at, act, at === last, contextSize);
        pos[i] = last = at;
        acts[i] = act;
        if (act > most) most = act;
      }
      block.special[segment] = cell < dSae ? 0 : 1;
      block.features[segment] = cell % dSae;
      block.n[segment] = end - start;
      block.ends[segment] = end;
      // The bits of a positive bfloat16 are the upper half of the same float32.
      largest[segment] = most << 16;
      segment += 1;
      start = end;
    }
    block.maxActivation.set(new Float32Array(largest.buffer));
    return block;
  }
}

function refused(feature: number, position: number, bits: number, twice: boolean, contextSize: number): InputError {
  const where = `feature ${feature} on token ${position % contextSize} of window ${Math.floor(position / contextSize)} of the block`;
  if (twice) return new InputError(`${where} comes twice`, { field: "code.feature_indices", wanted: "each feature of a token once" });
  return new InputError(`the activation of ${where} is no positive number`, { field: "code.activations", got: `bfloat16 bits 0x${bits.toString(16)}`, wanted: "a finite number above 0" });
}

/** A mask of a block's positions from the special ones of each window. */
export function specialMask(contextSize: number, special: readonly (readonly number[])[]): Uint8Array {
  const mask = new Uint8Array(BLOCK_POSITIONS);
  for (const [window, tokens] of special.entries()) for (const token of tokens) mask[window * contextSize + token] = 1;
  return mask;
}

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

/** Turns the codes of a block's tokens into its posting lists by a counting sort. Reuses its memory from block to block. */
export class BlockSorter {
  readonly #dSae: number;
  readonly #features = new Growing((n) => new Uint32Array(n), 1 << 16);
  readonly #acts = new Growing((n) => new Uint16Array(n), 1 << 16);
  readonly #actsF32 = new Growing((n) => new Float32Array(n), 0);
  readonly #pos = new Growing((n) => new Uint16Array(n), 1 << 16);
  readonly #starts: Uint32Array;

  constructor(dSae: number) {
    this.#dSae = dSae;
    this.#starts = new Uint32Array(2 * dSae + 1);
  }

  /**
   * The block of these codes, one row a token, window after window. The arrays of the result are its own but for pos
   * and acts, which are new too.
   * @throws InputError when rows and windows do not match, or an activation is not a positive number.
   */
  sort(shape: BlockShape, codes: readonly BlockCode[]): SortedBlock {
    this.#read(shape, codes);
    return this.#group(shape.special);
  }

  #read({ contextSize, lengths }: BlockShape, codes: readonly BlockCode[]): void {
    this.#features.clear();
    this.#acts.clear();
    this.#actsF32.clear();
    this.#pos.clear();
    let window = 0;
    let token = 0;
    for (const code of codes) {
      if (code.dSae !== this.#dSae) throw new InputError("a code of another SAE", { field: "code.d_sae", got: code.dSae, wanted: this.#dSae });
      const { indices, acts, rowOffsets } = code;
      this.#features.append(indices);
      this.#acts.append(acts);
      if (code.values !== undefined) this.#actsF32.append(code.values);
      const pos = this.#pos.room(indices.length);
      let at = this.#pos.length;
      for (let row = 0; row < code.nTokens; row++) {
        while (token === lengths[window]) {
          window += 1;
          token = 0;
        }
        if (window >= lengths.length) throw new InputError("more rows of code than tokens in the block", { got: code.nTokens - row, wanted: "none left" });
        const pairs = rowOffsets === undefined ? code.k : (rowOffsets[row + 1] as number) - (rowOffsets[row] as number);
        const end = at + pairs;
        const position = window * contextSize + token;
        while (at < end) pos[at++] = position;
        token += 1;
      }
      this.#pos.length = at;
    }
    while (window < lengths.length && token === lengths[window]) {
      window += 1;
      token = 0;
    }
    if (window < lengths.length) throw new InputError("fewer rows of code than tokens in the block", { got: `the end in window ${window}`, wanted: `${lengths.length} windows` });
  }

  #group(special: Uint8Array): SortedBlock {
    const { length } = this.#features;
    const features = this.#features.values;
    const acts = this.#acts.values;
    const pos = this.#pos.values;
    const dSae = this.#dSae;
    const starts = this.#starts.fill(0);
    let nSpecial = 0;
    for (let i = 0; i < length; i++) {
      const bits = acts[i] as number;
      if (bits === 0 || bits >= 0x7f80) throw new InputError("an activation is no positive number", { field: "code.activations", got: `bfloat16 bits 0x${bits.toString(16)}`, wanted: "a finite number above 0" });
      const onSpecial = special[pos[i] as number] as number;
      nSpecial += onSpecial;
      starts[(features[i] as number) + onSpecial * dSae + 1]! += 1;
    }
    let segments = 0;
    for (let cell = 0; cell < 2 * dSae; cell++) {
      if (starts[cell + 1] !== 0) segments += 1;
      starts[cell + 1]! += starts[cell] as number;
    }
    const outPos = new Uint16Array(length);
    const outActs = new Uint16Array(length);
    const keepsFloat32 = length > 0 && this.#actsF32.length === length;
    const actsF32 = this.#actsF32.values;
    const outActsF32 = new Float32Array(keepsFloat32 ? length : 0);
    // Each start moves to its segment's end while the segment fills, in the order of the tokens.
    for (let i = 0; i < length; i++) {
      const at = pos[i] as number;
      const to = starts[(features[i] as number) + (special[at] as number) * dSae]!++;
      outPos[to] = at;
      outActs[to] = acts[i] as number;
      if (keepsFloat32) outActsF32[to] = actsF32[i] as number;
    }
    const block: SortedBlock = {
      special: new Uint8Array(segments),
      features: new Uint32Array(segments),
      n: new Uint32Array(segments),
      maxActivation: new Float32Array(segments),
      ends: new Uint32Array(segments),
      pos: outPos,
      acts: outActs,
      actsF32: keepsFloat32 ? outActsF32 : undefined,
      nSpecial,
    };
    const largest = new Uint32Array(segments);
    for (let cell = 0, segment = 0, start = 0; cell < 2 * dSae; cell++) {
      const end = starts[cell] as number;
      if (end === start) continue;
      let most = 0;
      for (let i = start; i < end; i++) if ((outActs[i] as number) > most) most = outActs[i] as number;
      block.special[segment] = cell < dSae ? 0 : 1;
      block.features[segment] = cell < dSae ? cell : cell - dSae;
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

/** A mask of a block's positions from the special ones of each window. */
export function specialMask(contextSize: number, special: readonly (readonly number[])[]): Uint8Array {
  const mask = new Uint8Array(BLOCK_POSITIONS);
  for (const [window, tokens] of special.entries()) for (const token of tokens) mask[window * contextSize + token] = 1;
  return mask;
}

import { InputError } from "@mistral-sae/tensor";

/** Positions of one posting block: what 16 bits can say. */
export const BLOCK_POSITIONS = 65_536;

/**
 * Where each token of a corpus stands. Every window takes `contextSize` positions, also one that is shorter, so that
 * window and token follow from a position by arithmetic; a block holds whole windows.
 */
export class BlockLayout {
  readonly contextSize: number;
  readonly nSequences: number;
  /** Windows of a block. */
  readonly blockSequences: number;
  readonly nBlocks: number;

  /** @throws InputError for a context that no block can hold. */
  constructor(contextSize: number, nSequences: number) {
    if (!Number.isInteger(contextSize) || contextSize < 2 || contextSize > BLOCK_POSITIONS) {
      throw new InputError(`a context of ${contextSize} tokens cannot be indexed`, { field: "context_size", got: contextSize, wanted: `2 to ${BLOCK_POSITIONS}` });
    }
    this.contextSize = contextSize;
    this.nSequences = nSequences;
    this.blockSequences = Math.floor(BLOCK_POSITIONS / contextSize);
    this.nBlocks = Math.ceil(nSequences / this.blockSequences);
  }

  /** First window of a block, and the one after its last. */
  sequencesOf(block: number): { readonly start: number; readonly end: number } {
    const start = block * this.blockSequences;
    return { start, end: Math.min(start + this.blockSequences, this.nSequences) };
  }

  /** The window at a position of a block. */
  sequenceAt(block: number, pos: number): number {
    return block * this.blockSequences + Math.floor(pos / this.contextSize);
  }

  /** Index within its window of the token at a position of a block. */
  tokenAt(pos: number): number {
    return pos % this.contextSize;
  }
}

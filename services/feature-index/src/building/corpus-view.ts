/** What the workers know of the indexed text. The arrays lie in shared memory. */
export interface CorpusView {
  readonly contextSize: number;
  readonly blockSequences: number;
  /** Document of each window. */
  readonly docs: Uint32Array;
  /** Source of each window, an index into `sources`. */
  readonly windowSources: Uint16Array;
  readonly sources: readonly string[];
  /** Where in `tokens` the positions of each block begin; -1 for blocks that are not sampled. */
  readonly blockStarts: Float64Array;
  /** Token at each position of the sampled blocks; positions that no token takes hold rubbish. */
  readonly tokens: Uint16Array | Uint32Array;
  readonly dVocab: number;
}

// 67 million tokens: 128 MiB as 16-bit ids. Beyond that, token statistics are those of evenly spread blocks.
const MAX_SAMPLED_BLOCKS = 1_024;

/** One block in this many is sampled for token statistics. */
export function blockStride(nBlocks: number): number {
  return Math.max(1, Math.ceil(nBlocks / MAX_SAMPLED_BLOCKS));
}

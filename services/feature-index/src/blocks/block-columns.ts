import { arrayColumn, constantColumn, fixedColumn, type NativeColumn } from "@mistral-sae/clickhouse";
import { type BlockCode, pairsOf } from "./block-code.ts";
import type { SortedBlock } from "./block-sorter.ts";
import { Growing } from "./growing.ts";

/** Rows of `postings`, in the order of its key. Views of the block. */
export function postingColumns(indexId: number, block: number, sorted: SortedBlock): NativeColumn[] {
  const rows = sorted.features.length;
  return [
    constantColumn("index_id", "UInt32", indexId, rows),
    fixedColumn("is_special", "UInt8", sorted.special),
    fixedColumn("feature_index", "UInt32", sorted.features),
    constantColumn("block", "UInt32", block, rows),
    fixedColumn("n", "UInt32", sorted.n),
    fixedColumn("max_activation", "Float32", sorted.maxActivation),
    arrayColumn("pos", "UInt16", sorted.ends, sorted.pos),
    arrayColumn("acts", "BFloat16", sorted.ends, sorted.acts),
    ...(sorted.actsF32 === undefined ? [] : [arrayColumn("acts_f32", "Float32", sorted.ends, sorted.actsF32)]),
  ];
}

/** Windows of a block and which of its tokens are kept as they are. */
export interface SampleShape {
  readonly firstSequence: number;
  readonly contextSize: number;
  readonly lengths: Uint32Array;
  readonly special: Uint8Array;
  /** About one token in this many is kept. */
  readonly stride: number;
}

/** Rows of `sampled_codes`: the codes of evenly spread tokens that are not special, in order. */
export function sampleColumns(indexId: number, shape: SampleShape, codes: readonly BlockCode[]): NativeColumn[] {
  const sequences = new Growing((n) => new Uint32Array(n));
  const tokens = new Growing((n) => new Uint16Array(n));
  const ends = new Growing((n) => new Uint32Array(n));
  const features = new Growing((n) => new Uint32Array(n));
  const acts = new Growing((n) => new Uint16Array(n));
  let window = 0;
  let token = 0;
  for (const code of codes) {
    for (let row = 0; row < code.nTokens; row++, token++) {
      while (token === shape.lengths[window]) {
        window += 1;
        token = 0;
      }
      const sequence = shape.firstSequence + window;
      if (shape.special[window * shape.contextSize + token] === 1 || !isSampled(sequence, token, shape.contextSize, shape.stride)) continue;
      const [start, end] = pairsOf(code, row);
      features.append(code.indices.subarray(start, end));
      acts.append(code.acts.subarray(start, end));
      sequences.push(sequence);
      tokens.push(token);
      ends.push(features.length);
    }
  }
  return [
    constantColumn("index_id", "UInt32", indexId, sequences.length),
    fixedColumn("sequence_id", "UInt32", sequences.view()),
    fixedColumn("token_index", "UInt16", tokens.view()),
    arrayColumn("features", "UInt32", ends.view(), features.view()),
    arrayColumn("acts", "BFloat16", ends.view(), acts.view()),
  ];
}

/** Activations that a sample holds, about: 16 MB of codes kept token by token. */
export const SAMPLED_ACTIVATIONS = 1 << 22;

/** One token in this many is sampled of an index of so many activations. */
export function sampleStride(nActivations: number): number {
  return Math.max(1, Math.ceil(nActivations / SAMPLED_ACTIVATIONS));
}

/** Whether a token is in the sample. A multiplicative hash, so that no stride falls in step with the windows. */
export function isSampled(sequence: number, token: number, contextSize: number, stride: number): boolean {
  const position = Math.imul(sequence, contextSize) + token;
  return (Math.imul(position, 2_654_435_761) >>> 0) % stride === 0;
}

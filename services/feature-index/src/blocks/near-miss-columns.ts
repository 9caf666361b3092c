import { constantColumn, fixedColumn, type NativeColumn } from "@mistral-sae/clickhouse";
import { f32View, rowBounds, unpackSparse, type WireSparseCodeInput } from "@mistral-sae/tensor";
import type { SampleShape } from "./block-columns.ts";
import { Growing } from "./growing.ts";

/** Features that came closest to firing on some rows of a block. */
export interface BlockMisses {
  /** The first of those rows among the block's tokens, window after window. */
  readonly row: number;
  /** Pre-activations, one row a token. */
  readonly code: WireSparseCodeInput;
  /** F32, one a pair: what each fell short of. */
  readonly thresholds: Uint8Array;
}

/** Rows of `staged_near_misses`; special tokens are left out. `misses` come in order. */
export function nearMissColumns(indexId: number, { firstSequence, contextSize, lengths, special }: Omit<SampleShape, "stride">, misses: readonly BlockMisses[]): NativeColumn[] {
  const features = new Growing((n) => new Uint32Array(n));
  const sequences = new Growing((n) => new Uint32Array(n));
  const tokens = new Growing((n) => new Uint16Array(n));
  const values = new Growing((n) => new Float32Array(n));
  const thresholds = new Growing((n) => new Float32Array(n));
  let window = 0;
  let start = 0;
  for (const { row: first, code, thresholds: bytes } of misses) {
    const rows = unpackSparse(code);
    const limits = f32View(bytes);
    for (let row = 0; row < rows.nTokens; row++) {
      while (first + row >= start + (lengths[window] as number)) start += lengths[window++] as number;
      const token = first + row - start;
      if (special[window * contextSize + token] === 1) continue;
      const [from, to] = rowBounds(rows, row);
      features.append(rows.indices.subarray(from, to));
      values.append(rows.values.subarray(from, to));
      thresholds.append(limits.subarray(from, to));
      for (let pair = from; pair < to; pair++) {
        sequences.push(firstSequence + window);
        tokens.push(token);
      }
    }
  }
  return [
    constantColumn("index_id", "UInt32", indexId, features.length),
    fixedColumn("feature_index", "UInt32", features.view()),
    fixedColumn("sequence_id", "UInt32", sequences.view()),
    fixedColumn("token_index", "UInt16", tokens.view()),
    fixedColumn("pre_activation", "Float32", values.view()),
    fixedColumn("threshold", "Float32", thresholds.view()),
  ];
}

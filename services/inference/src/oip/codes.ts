import { create } from "@bufbuild/protobuf";
import { SparseCodeSchema } from "@mistral-sae/contracts/mistral_sae/common/v1/tensor";
import type { EncodeRequest } from "@mistral-sae/contracts/mistral_sae/sae/v1/sae";
import { type CallContext, internal } from "@mistral-sae/rpc";
import { rowBounds, type SparseRows, unpackSparse } from "@mistral-sae/tensor";
import { codecHandlers } from "../handlers/codec.ts";
import type { Parts } from "../handlers/parts.ts";
import { type OutputTensor, requireFits } from "./outputs.ts";

/** Codes of one chunk. */
export async function encodeChunk(input: EncodeRequest, parts: Parts, context: CallContext): Promise<SparseRows> {
  for await (const { code } of codecHandlers(parts).encode(once(input), context)) return unpackSparse(create(SparseCodeSchema, code));
  throw internal("NO_ANSWER", "the SAE answered nothing");
}

export async function* once<T>(item: T): AsyncGenerator<T> {
  yield item;
}

/** Which row of the codes goes to which row of the output. */
export interface RowPlace {
  readonly row: number;
  readonly place: number;
}

/**
 * Codes as two tensors [...shape, K], K the most pairs of a row. Where a row has fewer, and in rows that nothing goes
 * to, index and activation are 0: no true pair has an activation of 0.
 */
export function codeTensors(rows: SparseRows, places: readonly RowPlace[], shape: readonly number[]): OutputTensor[] {
  let k = 1;
  for (const { row } of places) {
    const [from, to] = rowBounds(rows, row);
    k = Math.max(k, to - from);
  }
  const full = [...shape, k];
  const size = full.reduce((product, size) => product * size, 1);
  requireFits("feature_acts", size, "set top_features or send fewer rows");
  const indices = new Uint32Array(size);
  const acts = new Float32Array(size);
  for (const { row, place } of places) {
    const [from, to] = rowBounds(rows, row);
    indices.set(rows.indices.subarray(from, to), place * k);
    acts.set(rows.values.subarray(from, to), place * k);
  }
  return [
    { name: "feature_indices", shape: full, values: indices },
    { name: "feature_acts", shape: full, values: acts },
  ];
}

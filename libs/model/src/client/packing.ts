import type { Edit } from "../edits/edit.ts";
import type { Sequence } from "../engine.ts";
import type { PackedSequences } from "../worker/protocol.ts";

/**
 * Sequences grouped into batches of at most `batchTokens` tokens, padding included: longest first, so that a batch's
 * rows differ little in length. A sequence longer than that runs alone. Returns indices.
 */
export function packByLength(lengths: Uint32Array, batchTokens: number): Uint32Array[] {
  const order = Uint32Array.from(lengths, (_, i) => i).sort((a, b) => lengths[b]! - lengths[a]! || a - b);
  const batches: Uint32Array[] = [];
  let start = 0;
  while (start < order.length) {
    const rows = Math.max(1, Math.floor(batchTokens / lengths[order[start]!]!));
    batches.push(order.slice(start, start + rows));
    start += rows;
  }
  return batches;
}

/** The sequences of a batch in one piece: their tokens copied together, their edits free of foreign memory. */
export function packSequences(sequences: readonly Sequence[], indices: Uint32Array): PackedSequences {
  const offsets = new Uint32Array(indices.length + 1);
  for (const [i, index] of indices.entries()) offsets[i + 1] = offsets[i]! + sequences[index]!.tokens.length;
  const tokens = new Uint32Array(offsets[indices.length]!);
  for (const [i, index] of indices.entries()) tokens.set(sequences[index]!.tokens, offsets[i]);
  const compact = editCompactor();
  const edits = [...indices].map((index) => compact(sequences[index]!.edits));
  return edits.some((list) => list !== undefined) ? { tokens, offsets, edits } : { tokens, offsets };
}

/** The rows wanted of a batch's sequences in one piece, as its tokens lie; all of a sequence that has no entry. */
export function packMasks(rows: readonly (Uint8Array | undefined)[], offsets: Uint32Array, indices: Uint32Array): Uint8Array {
  const packed = new Uint8Array(offsets[indices.length]!);
  for (const [i, index] of indices.entries()) {
    const own = rows[index];
    if (own === undefined) packed.fill(1, offsets[i], offsets[i + 1]);
    else packed.set(own, offsets[i]);
  }
  return packed;
}

/**
 * Copies edits so that posting them clones their arrays and nothing around them: a view would take its whole buffer
 * along. What several sequences share stays shared.
 */
export function editCompactor(): (edits: readonly Edit[] | undefined) => readonly Edit[] | undefined {
  const lists = new Map<readonly Edit[], readonly Edit[]>();
  const arrays = new Map<ArrayBufferView, ArrayBufferView>();
  const compactArray = (array: ArrayBufferView): ArrayBufferView => {
    if (array.byteLength === array.buffer.byteLength) return array;
    let copy = arrays.get(array);
    if (copy === undefined) {
      copy = array instanceof Float32Array ? array.slice() : array instanceof Uint8Array ? Uint8Array.from(array) : array;
      arrays.set(array, copy);
    }
    return copy;
  };
  return (edits) => {
    if (edits === undefined || edits.length === 0) return undefined;
    let list = lists.get(edits);
    if (list === undefined) {
      list = edits.map((edit) => Object.fromEntries(Object.entries(edit).map(([key, value]) => [key, ArrayBuffer.isView(value) ? compactArray(value) : value])) as unknown as Edit);
      lists.set(edits, list);
    }
    return list;
  };
}

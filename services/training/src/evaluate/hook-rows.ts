import { f32FromBytes } from "@mistral-sae/tensor";
import type { InferencePeer, Sequence } from "../peer/inference-peer.ts";

/** A hook with the width of its rows. */
export interface Hook {
  readonly hookName: string;
  readonly width: number;
}

/** Rows of one hook, special ones included. */
export interface HookRows {
  readonly width: number;
  /** [rows, width]. */
  readonly values: Float32Array;
}

/** All rows of sequences at some hooks, each named once, in their order; sequence after sequence. */
export async function hookRows(sequences: readonly Sequence[], hooks: readonly Hook[], peer: InferencePeer): Promise<HookRows[]> {
  let total = 0;
  const first = sequences.map(({ ids }) => {
    const start = total;
    total += ids.length;
    return start;
  });
  const read = new Map(hooks.map(({ hookName, width }) => [hookName, { width, values: new Float32Array(total * width) }]));
  await peer.forward([...read.keys()], "F32", sequences, ({ prompt, hookName, start, bytes }) => {
    const rows = read.get(hookName);
    if (rows === undefined) return;
    const at = ((first[prompt] ?? 0) + start) * rows.width;
    f32FromBytes("F32", bytes, rows.values.subarray(at, at + bytes.length / 4));
  });
  return [...read.values()];
}

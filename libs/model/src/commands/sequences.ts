import type { SequenceEdits } from "../edits/compiled.ts";
import type { EditProof } from "../edits/edit.ts";
import { makeBatch, type Batch, type BatchRow } from "../runtime/batch.ts";
import type { ModelRuntime } from "../runtime/model-runtime.ts";
import type { PackedSequences } from "../worker/protocol.ts";

/** Sequences as one batch without a cache, their edits compiled. */
export function unpackSequences(runtime: ModelRuntime, packed: PackedSequences): Batch {
  const compile = runtime.editCompiler();
  const rows: BatchRow[] = [];
  for (let i = 0; i + 1 < packed.offsets.length; i++) {
    const tokens = packed.tokens.subarray(packed.offsets[i], packed.offsets[i + 1]);
    rows.push({ tokens, past: 0, edits: compile(packed.edits?.[i], tokens.length) });
  }
  return makeBatch(rows, { kind: "none" });
}

/** One list of proofs a sequence. */
export function proofsOf(edits: readonly (SequenceEdits | undefined)[]): EditProof[][] {
  return edits.map((one) => one?.proofs() ?? []);
}

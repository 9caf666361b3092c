import type { Batch } from "../runtime/batch.ts";
import type { Asked } from "../sae/membership.ts";
import type { SaeRuntime } from "../sae/sae-runtime.ts";
import type { SequenceEdits } from "./compiled.ts";
import type { FeatureGroup } from "./feature-group.ts";
import { gatherRows, probesAt, readProbes } from "./probes.ts";
import { factorAt } from "./rules.ts";
import type { VectorStep } from "./steps.ts";

/**
 * Applies the edits that a batch's sequences have at a residual point to its rows [B, S, d], in place, each sequence's
 * in the order of its list. Rows that no edit selects are not written. Only rows of which more than single features
 * must be known are gathered and encoded, those of one SAE together; for the others nothing is allocated.
 */
export async function applyEdits(point: number, batch: Batch, x: Float32Array, d: number): Promise<void> {
  if (probesAt(point, batch)) await readProbes(point, batch, x, d);
  let rounds = 0;
  for (const edits of batch.edits) rounds = Math.max(rounds, edits?.compiled.steps.get(point)?.length ?? 0);
  for (let round = 0; round < rounds; round++) {
    const waiting = applyRound(point, round, batch, x, d);
    if (waiting !== undefined) await applyWaiting(waiting, x, d);
  }
}

/** A row that a feature group edits by its whole code, or by what TopK keeps of it. */
interface WaitingRow {
  readonly by: "code" | "kept";
  readonly group: FeatureGroup;
  readonly edits: SequenceEdits;
  readonly position: number;
  readonly token: number;
  readonly at: number;
}

/** The next step of each sequence, as far as it needs no encoding; returns the rows that do. */
function applyRound(point: number, round: number, batch: Batch, x: Float32Array, d: number): WaitingRow[] | undefined {
  let waiting: WaitingRow[] | undefined;
  for (let b = 0; b < batch.size; b++) {
    const edits = batch.edits[b];
    const step = edits?.compiled.steps.get(point)?.[round];
    if (edits === undefined || step === undefined) continue;
    for (let s = 0; s < batch.lengths[b]!; s++) {
      const position = batch.past[b]! + s;
      const token = batch.tokens[b * batch.steps + s]!;
      const at = (b * batch.steps + s) * d;
      if (step.kind === "vector") {
        applyVector(step, edits, position, token, x, at);
        continue;
      }
      const by = step.editByColumns(edits, position, token, x, at);
      if (by !== "done") (waiting ??= []).push({ by, group: step, edits, position, token, at });
    }
  }
  return waiting;
}

function applyVector(step: VectorStep, edits: SequenceEdits, position: number, token: number, x: Float32Array, at: number): void {
  const { index, formula } = step;
  const verdict = edits.verdict(index, position, token);
  if (verdict === "apply") edits.record(index, position, formula(x, at, factorAt(edits.compiled.edits[index]!, position, edits.promptLength)));
  else if (verdict === "off") edits.recordOff(index, position);
}

async function applyWaiting(waiting: readonly WaitingRow[], x: Float32Array, d: number): Promise<void> {
  for (const sae of new Set(waiting.map(({ group }) => group.sae))) {
    const own = waiting.filter(({ group }) => group.sae === sae);
    const byCode = own.filter(({ by }) => by === "code");
    const byKept = own.filter(({ by }) => by === "kept");
    if (byCode.length > 0) await applyByCode(sae, byCode, x, d);
    if (byKept.length > 0) await applyByKept(sae, byKept, x, d);
  }
}

async function applyByCode(sae: SaeRuntime, rows: readonly WaitingRow[], x: Float32Array, d: number): Promise<void> {
  const encoded = await sae.encode(gatherRows(x, rows.map(({ at }) => at), d), rows.length);
  for (const [r, { group, edits, position, token, at }] of rows.entries()) group.editByCode(encoded, r, edits, position, token, x, at);
}

async function applyByKept(sae: SaeRuntime, rows: readonly WaitingRow[], x: Float32Array, d: number): Promise<void> {
  const asked: Asked[] = [];
  for (const [r, { group, edits, position, token, at }] of rows.entries()) group.ask(r, asked, edits, position, token, x, at);
  const kept = await sae.keeps(gatherRows(x, rows.map(({ at }) => at), d), rows.length, asked);
  let answer = 0;
  for (const { group, edits, position, token, at } of rows) answer = group.editByKept(kept, answer, edits, position, token, x, at);
}

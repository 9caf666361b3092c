import type { Batch } from "../runtime/batch.ts";
import type { SequenceEdits } from "./compiled.ts";
import { factorAt } from "./rules.ts";
import type { VectorStep } from "./steps.ts";

/** What the graph must be able to add at a point: given rows, or also rows times the length of the row that they are added to. */
export type AdditionKind = "raw" | "by norm";

/** An edit of one row that the graph makes. */
interface AddedRow {
  readonly edits: SequenceEdits;
  readonly index: number;
  readonly position: number;
  /** Row of [B · S]. */
  readonly row: number;
  /** ‖h' − h‖, or that over ‖h‖. */
  readonly distance: number;
  readonly byNorm: boolean;
}

/** What is added to the rows of a batch at a point: h + raw + ‖h‖ byNorm, [B, S, d] each. */
export interface Additions {
  readonly raw: Float32Array;
  readonly byNorm: Float32Array | undefined;
  readonly rows: readonly AddedRow[];
}

/**
 * What the graph must be able to add so that the edits of a batch at a point need no cut there: undefined where one of them
 * does more than add, waits for a condition, or follows another edit of the same row.
 */
export function additionKind(batch: Batch, point: number): AdditionKind | undefined {
  let kind: AdditionKind = "raw";
  for (const edits of batch.edits) {
    if (edits === undefined) continue;
    const { steps, probes } = edits.compiled;
    if (probes.some((probe) => probe.point === point)) return undefined;
    const list = steps.get(point) ?? [];
    if (list.length === 0) continue;
    const step = additionStep(edits, point);
    if (step === undefined) return undefined;
    if (step.addition?.byNorm === true) kind = "by norm";
  }
  return kind;
}

/** The only edit of a sequence at a point, if it only adds and waits for nothing. */
function additionStep({ compiled }: SequenceEdits, point: number): VectorStep | undefined {
  const [step, ...more] = compiled.steps.get(point) ?? [];
  if (step?.kind !== "vector" || more.length > 0 || step.addition === undefined || compiled.gates[step.index] !== undefined) return undefined;
  return step;
}

/** The rows that the edits of a batch add at a point that {@link additionKind} has allowed. */
export function additionsAt(batch: Batch, point: number, kind: AdditionKind, d: number): Additions {
  const raw = new Float32Array(batch.size * batch.steps * d);
  const byNorm = kind === "by norm" ? new Float32Array(raw.length) : undefined;
  const rows: AddedRow[] = [];
  for (const [b, edits] of batch.edits.entries()) {
    const step = edits === undefined ? undefined : additionStep(edits, point);
    if (edits === undefined || step?.addition === undefined) continue;
    const { index, addition } = step;
    const into = addition.byNorm ? byNorm : raw;
    if (into === undefined) throw new Error(`point ${point} cannot add by the norm of the row`);
    for (let s = 0; s < batch.lengths[b]!; s++) {
      const position = batch.past[b]! + s;
      const row = b * batch.steps + s;
      if (edits.verdict(index, position, batch.tokens[row]!) !== "apply") continue;
      const c = addition.strength * factorAt(edits.compiled.edits[index]!, position, edits.promptLength);
      for (let i = 0, at = row * d; i < d; i++, at++) into[at] = c * addition.vector[i]!;
      rows.push({ edits, index, position, row, distance: Math.abs(c) * addition.length, byNorm: addition.byNorm });
    }
  }
  return { raw, byNorm, rows };
}

/** Notes what was added; `norms` are the lengths of the rows, [B · S], where any counted. */
export function recordAdditions({ rows }: Additions, norms: Float32Array | undefined): void {
  for (const { edits, index, position, row, distance, byNorm } of rows) edits.record(index, position, byNorm ? distance * (norms?.[row] ?? Number.NaN) : distance);
}

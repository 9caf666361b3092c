import { rowBounds, type SparseRows } from "@mistral-sae/tensor";
import type { Batch } from "../runtime/batch.ts";
import { addScaled, type Encoded, type SaeRuntime } from "../sae/sae-runtime.ts";
import { factorAt, selects, type FeatureGroup, type SequenceEdits } from "./compiled.ts";

/**
 * Applies the edits that a batch's sequences have at a residual point to its rows [B, S, d], in place, each sequence's
 * in the order of its list. Rows that no edit selects are not written.
 */
export async function applyEdits(point: number, batch: Batch, x: Float32Array, d: number): Promise<void> {
  const lists = batch.edits.map((edits) => edits?.compiled.steps.get(point) ?? []);
  const longest = lists.reduce((most, list) => Math.max(most, list.length), 0);
  for (let i = 0; i < longest; i++) {
    const groups = new Map<SaeRuntime, GroupRow[]>();
    for (const [b, list] of lists.entries()) {
      const step = list[i];
      const edits = batch.edits[b];
      if (step === undefined || edits === undefined) continue;
      for (let s = 0; s < batch.lengths[b]!; s++) {
        const position = batch.past[b]! + s;
        const token = batch.tokens[b * batch.steps + s]!;
        const at = (b * batch.steps + s) * d;
        if (step.kind === "vector") {
          const edit = edits.compiled.edits[step.index]!;
          if (selects(edit, position, edits.promptLength, token)) {
            edits.record(step.index, position, step.formula(x, at, factorAt(edit, position, edits.promptLength)));
          }
        } else if (groupSelects(step, edits, position, token)) {
          const rows = groups.get(step.sae) ?? [];
          groups.set(step.sae, rows);
          rows.push({ group: step, edits, position, token, at });
        }
      }
    }
    for (const [sae, rows] of groups) await applyGroup(sae, rows, x, d);
  }
}

/** A row that a feature group edits. */
interface GroupRow {
  readonly group: FeatureGroup;
  readonly edits: SequenceEdits;
  readonly position: number;
  readonly token: number;
  readonly at: number;
}

function groupSelects(group: FeatureGroup, edits: SequenceEdits, position: number, token: number): boolean {
  const hit = (index: number): boolean => selects(edits.compiled.edits[index]!, position, edits.promptLength, token);
  return group.features.some((step) => hit(step.index)) || group.reconstruct.some(hit);
}

async function applyGroup(sae: SaeRuntime, rows: readonly GroupRow[], x: Float32Array, d: number): Promise<void> {
  const packed = new Float32Array(rows.length * d);
  for (const [r, { at }] of rows.entries()) packed.set(x.subarray(at, at + d), r * d);
  const encoded = await sae.encode(packed, rows.length);
  for (const [r, row] of rows.entries()) editRow(sae, encoded, r, row, x.subarray(row.at, row.at + d));
}

/** h + sd Σ (a' − a) D_f, or sd (D a' + b_dec) + mean where an edit drops the error. `a` is of the row as it was found. */
function editRow(sae: SaeRuntime, { code, input }: Encoded, r: number, row: GroupRow, h: Float32Array): void {
  const { edits, group, position, token } = row;
  const scale = input.scale?.[r] ?? 1;
  const changes = new Map<number, { readonly from: number; to: number }>();
  const active = (index: number): boolean => selects(edits.compiled.edits[index]!, position, edits.promptLength, token);
  const dropping: number[] = group.reconstruct.filter(active);
  for (const step of group.features) {
    if (!active(step.index)) continue;
    const change = changes.get(step.feature) ?? { from: activation(code, r, step.feature), to: activation(code, r, step.feature) };
    const before = change.to;
    change.to = step.formula(before, factorAt(edits.compiled.edits[step.index]!, position, edits.promptLength));
    changes.set(step.feature, change);
    if (step.keepErrorTerm) edits.record(step.index, position, Math.abs(scale * (change.to - before)) * sae.sae.decoderNorms[step.feature]!);
    else dropping.push(step.index);
  }
  if (dropping.length > 0) {
    const moved = splice(sae, code, r, scale, input.shift?.[r] ?? 0, changes, h);
    for (const index of dropping) edits.record(index, position, moved);
    return;
  }
  for (const [feature, { from, to }] of changes) {
    if (to !== from) addScaled(h, sae.sae.wDec, feature * h.length, scale * (to - from));
  }
}

function activation(code: SparseRows, row: number, feature: number): number {
  const [start, end] = rowBounds(code, row);
  for (let pair = start; pair < end; pair++) if (code.indices[pair] === feature) return code.values[pair]!;
  return 0;
}

function splice(sae: SaeRuntime, code: SparseRows, r: number, scale: number, shift: number, changes: ReadonlyMap<number, { readonly from: number; readonly to: number }>, h: Float32Array): number {
  const { wDec, bDec } = sae.sae;
  const decoded = Float32Array.from(bDec);
  const [start, end] = rowBounds(code, r);
  for (let pair = start; pair < end; pair++) addScaled(decoded, wDec, code.indices[pair]! * h.length, code.values[pair]!);
  for (const [feature, { from, to }] of changes) if (to !== from) addScaled(decoded, wDec, feature * h.length, to - from);
  let squares = 0;
  for (let i = 0; i < h.length; i++) {
    const value = Math.fround(scale * decoded[i]! + shift);
    squares += (value - h[i]!) ** 2;
    h[i] = value;
  }
  return Math.sqrt(squares);
}

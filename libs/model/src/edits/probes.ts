import type { Batch } from "../runtime/batch.ts";
import type { SaeRuntime } from "../sae/sae-runtime.ts";
import type { SequenceEdits } from "./compiled.ts";

/** A row of which a probe must know whether TopK keeps its feature. */
interface ProbedRow {
  readonly sae: SaeRuntime;
  readonly edits: SequenceEdits;
  readonly probe: number;
  readonly position: number;
  readonly at: number;
  /** What the feature is if it is kept. */
  readonly activation: number;
}

/** Whether conditions of a batch's sequences look at a point. */
export function probesAt(point: number, batch: Batch): boolean {
  for (const edits of batch.edits) {
    if (edits === undefined) continue;
    for (const probe of edits.compiled.probes) if (probe.point === point) return true;
  }
  return false;
}

/**
 * Reads the features that conditions look at in the rows x [B, S, d] of a point, before the edits there, and ends the
 * sequences whose conditions say so.
 */
export async function readProbes(point: number, batch: Batch, x: Float32Array, d: number): Promise<void> {
  const waiting: ProbedRow[] = [];
  for (let b = 0; b < batch.size; b++) {
    const edits = batch.edits[b];
    if (edits === undefined) continue;
    for (const [probe, { point: own, sae, feature, thresholds }] of edits.compiled.probes.entries()) {
      if (own !== point) continue;
      for (let s = 0; s < batch.lengths[b]!; s++) {
        const position = batch.past[b]! + s;
        if (!edits.reads(probe, position, batch.tokens[b * batch.steps + s]!)) continue;
        const at = (b * batch.steps + s) * d;
        sae.reader.take(x, at);
        const activation = sae.reader.activation(feature);
        if (sae.sae.kind !== "topk" || activation === 0) edits.note(probe, position, activation);
        else if (thresholds.some((threshold) => threshold >= 0 && threshold <= activation)) waiting.push({ sae, edits, probe, position, at, activation });
        // Kept or left out by TopK, it lies on the same side of every threshold.
        else edits.note(probe, position, 0);
      }
    }
  }
  while (waiting.length > 0) await readKept(waiting, x, d);
  for (let b = 0; b < batch.size; b++) {
    const edits = batch.edits[b];
    if (edits === undefined) continue;
    for (let s = 0; s < batch.lengths[b]!; s++) edits.checkEnd(point, batch.past[b]! + s, batch.tokens[b * batch.steps + s]!);
  }
}

/** Takes the rows of one SAE out of `waiting`: each row is looked at once, whatever is asked of it. */
async function readKept(waiting: ProbedRow[], x: Float32Array, d: number): Promise<void> {
  const { sae } = waiting[0]!;
  const own = waiting.filter((row) => row.sae === sae);
  waiting.splice(0, waiting.length, ...waiting.filter((row) => row.sae !== sae));
  const places = [...new Set(own.map(({ at }) => at))];
  const asked = own.map(({ edits, probe, at, activation }) => ({ row: places.indexOf(at), feature: edits.compiled.probes[probe]!.feature, activation }));
  const kept = await sae.keeps(gatherRows(x, places, d), places.length, asked);
  for (const [i, { edits, probe, position, activation }] of own.entries()) edits.note(probe, position, kept[i] === 1 ? activation : 0);
}

/** The rows x[at, at + d) of some places, [places, d]. */
export function gatherRows(x: Float32Array, places: readonly number[], d: number): Float32Array {
  const rows = new Float32Array(places.length * d);
  for (const [r, at] of places.entries()) rows.set(x.subarray(at, at + d), r * d);
  return rows;
}

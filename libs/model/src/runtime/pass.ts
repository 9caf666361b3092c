import { Tensor } from "onnxruntime-node";
import { applyEdits } from "../edits/apply.ts";
import { type AdditionKind, type Additions, additionKind, additionsAt, recordAdditions } from "../edits/additions.ts";
import type { SequenceEdits } from "../edits/compiled.ts";
import { newRowsName } from "../graph/layer.ts";
import { additionNames, attentionLayers, fromTokens, residualName } from "../graph/segment.ts";
import { type HookSite, lastPoint } from "../hooks/hook-name.ts";
import { innerName } from "../hooks/inner-hooks.ts";
import { positionFeeds, tokenFeed, type Batch } from "./batch.ts";
import type { CacheRow, CacheShape } from "./kv-arena.ts";
import { floats, type Feeds } from "./session.ts";
import type { InnerTap, Segment, Segments } from "./segments.ts";

/** A place to read; at residual points before or after the edits there. */
export interface SiteTap {
  readonly site: HookSite;
  readonly afterEdits: boolean;
}

/** What a pass gives, padding included. */
export interface PassResult {
  /** [B, S, D] at the last point, after its edits. May be the array of a tap. */
  readonly resid: Float32Array;
  /** [B, S, width of the site], in the order of the taps. */
  readonly taps: readonly Float32Array[];
  /** [B, dVocab] after each sequence's last token, when asked for; undefined where edits change the residual at the very end. */
  readonly logits: Float32Array | undefined;
}

/** What a pass is for. */
export interface PassGoal {
  /** The residual point to reach. */
  readonly to: number;
  /** All at or before `to`. */
  readonly taps?: readonly SiteTap[];
  /** Whether the logits after each sequence's last token are wanted; the pass then reaches the end of the model. */
  readonly logits?: boolean;
}

/** What a pass needs to know of the model. */
export interface PassShape extends CacheShape {
  readonly dModel: number;
  readonly normEpsilon: number;
}

/**
 * Runs a batch from its tokens to a residual point, applying its sequences' edits at their points, reading the taps and
 * keeping the new keys and values where the batch says.
 */
export async function runPass(segments: Segments, shape: PassShape, batch: Batch, { to, taps = [], logits: withLogits = false }: PassGoal): Promise<PassResult> {
  const { dModel } = shape;
  const { edited, added } = editedPoints(batch, to);
  const path = await segments.path(to, edited.filter((point) => !added.has(point)), innerTaps(taps), added);
  const positions = positionFeeds(batch);
  const read: Float32Array[] = taps.map(() => new Float32Array());
  let resid: Float32Array = new Float32Array();
  let logits: Float32Array | undefined;
  for (const segment of path) {
    const feeds: Feeds = {};
    if (segment.from === fromTokens) feeds["input_ids"] = tokenFeed(batch);
    else feeds["resid_in"] = new Tensor("float32", resid, [batch.size, batch.steps, dModel]);
    const [firstLayer, endLayer] = attentionLayers(segment.from, segment.to);
    if (endLayer > firstLayer) feedLayers(feeds, positions, firstLayer, endLayer, batch, shape);
    const here = edited.includes(segment.to);
    const ends = segment.to === lastPoint(shape.nLayers);
    const givesLogits = ends && withLogits && !here;
    const names = wantedOutputs(segment, taps);
    if (batch.cache.kind !== "none") for (let layer = firstLayer; layer < endLayer; layer++) names.push(newRowsName(layer));
    if (givesLogits) names.push("logits");
    if (ends) feeds["logit_rows"] = givesLogits ? lastRowIndices(batch) : noRows;
    const additions = feedAdditions(feeds, names, segment, added, batch, dModel);
    const outputs = await segment.session.run(feeds, names);
    if (givesLogits) logits = floats(outputs, "logits");
    for (const [point, addition] of additions) recordAdditions(addition, addition.byNorm === undefined ? undefined : floats(outputs, additionNames.norms(point)));
    if (batch.cache.kind !== "none") keep(outputs, firstLayer, endLayer, batch.cache.rows, batch);
    resid = floats(outputs, residualName(segment.to));
    for (const [i, { site, afterEdits }] of taps.entries()) {
      const inside = insideName(site, afterEdits, segment);
      if (inside !== undefined) read[i] = floats(outputs, inside);
      else if (site.kind === "residual" && site.point === segment.to && !afterEdits) read[i] = here ? resid.slice() : resid;
    }
    if (here) await applyEdits(segment.to, batch, resid, dModel);
    for (const [i, { site, afterEdits }] of taps.entries()) {
      if (site.kind === "residual" && site.point === segment.to && afterEdits) read[i] = segment.to === to ? resid : resid.slice();
      else if (site.kind === "normalized" && site.point === segment.to) read[i] = normalised(resid, dModel, shape.normEpsilon);
    }
  }
  return { resid, taps: read, logits };
}

const noRows = new Tensor("int64", new BigInt64Array(), [0]);

function lastRowIndices({ size, steps, lengths }: Batch): Tensor {
  return new Tensor("int64", BigInt64Array.from({ length: size }, (_, b) => BigInt(b * steps + lengths[b]! - 1)), [size]);
}

function innerTaps(taps: readonly SiteTap[]): InnerTap[] {
  return taps.flatMap(({ site }) => (site.kind === "inner" ? [{ half: site.half, name: innerName(site.layer, site.hook) }] : []));
}

/** The output of a segment that holds a site, unless it is the segment's end. */
function insideName(site: HookSite, afterEdits: boolean, { from, to, additions }: Segment): string | undefined {
  if (site.kind === "inner") return site.half >= from && site.half < to ? innerName(site.layer, site.hook) : undefined;
  if (site.kind !== "residual" || site.point <= from || site.point >= to) return undefined;
  return afterEdits && additions.has(site.point) ? additionNames.edited(site.point) : residualName(site.point);
}

/** Feeds what the segment adds between its ends: the batch's own rows, or nothing but zeros. */
function feedAdditions(feeds: Feeds, names: string[], segment: Segment, added: ReadonlyMap<number, AdditionKind>, batch: Batch, d: number): Map<number, Additions> {
  const made = new Map<number, Additions>();
  const shape = [batch.size, batch.steps, d];
  for (const [point, kind] of segment.additions) {
    const additions = added.has(point) ? additionsAt(batch, point, kind, d) : undefined;
    const raw = additions?.raw ?? new Float32Array(batch.size * batch.steps * d);
    feeds[additionNames.raw(point)] = new Tensor("float32", raw, shape);
    if (kind === "by norm") feeds[additionNames.byNorm(point)] = new Tensor("float32", additions?.byNorm ?? raw, shape);
    if (additions === undefined) continue;
    made.set(point, additions);
    if (additions.byNorm !== undefined) names.push(additionNames.norms(point));
  }
  return made;
}

/** The residual at the segment's end and the taps inside it. */
function wantedOutputs(segment: Segment, taps: readonly SiteTap[]): string[] {
  const names = new Set([residualName(segment.to)]);
  for (const { site, afterEdits } of taps) {
    const inside = insideName(site, afterEdits, segment);
    if (inside !== undefined) names.add(inside);
  }
  return [...names];
}

/** Each row over its root mean square (Zhang & Sennrich 2019, arXiv 1910.07467), without the weight. */
function normalised(rows: Float32Array, d: number, epsilon: number): Float32Array {
  const out = new Float32Array(rows.length);
  for (let at = 0; at < rows.length; at += d) {
    let squares = 0;
    for (let i = at; i < at + d; i++) squares += rows[i]! ** 2;
    const scale = 1 / Math.sqrt(squares / d + epsilon);
    for (let i = at; i < at + d; i++) out[i] = rows[i]! * scale;
  }
  return out;
}

/**
 * Points at which edits select a row of the batch or look at one, and those of them at which the graph can add what they
 * add. Everywhere else the model need not be cut.
 */
function editedPoints(batch: Batch, to: number): { edited: number[]; added: Map<number, AdditionKind> } {
  const points = new Set<number>();
  for (const [b, edits] of batch.edits.entries()) {
    if (edits === undefined || !anyNeeded(batch, b, edits)) continue;
    for (const point of edits.compiled.points) if (point <= to) points.add(point);
  }
  const added = new Map<number, AdditionKind>();
  for (const point of points) {
    const kind = point < to && point > 0 ? additionKind(batch, point) : undefined;
    if (kind !== undefined) added.set(point, kind);
  }
  return { edited: [...points], added };
}

function anyNeeded({ steps, lengths, past, tokens }: Batch, b: number, edits: SequenceEdits): boolean {
  for (let s = 0; s < lengths[b]!; s++) if (edits.needs(past[b]! + s, tokens[b * steps + s]!)) return true;
  return false;
}

function feedLayers(feeds: Feeds, positions: Feeds, first: number, end: number, batch: Batch, shape: PassShape): void {
  const { cache } = batch;
  Object.assign(feeds, positions);
  if (cache.kind === "rows") {
    cache.arena.feed(feeds, first, end, cache.first, batch.size);
    return;
  }
  const nothing = new Tensor("float32", new Float32Array(), [batch.size, shape.nKeyValueHeads, 0, shape.dHead]);
  for (let layer = first; layer < end; layer++) {
    feeds[`past_key_${layer}`] = nothing;
    feeds[`past_value_${layer}`] = nothing;
  }
}

function keep(outputs: Feeds, first: number, end: number, cacheRows: readonly CacheRow[], batch: Batch): void {
  for (let layer = first; layer < end; layer++) {
    const rows = floats(outputs, newRowsName(layer));
    for (const [b, row] of cacheRows.entries()) row.arena.append(row, layer, rows, batch, b);
  }
}

/** Counts the positions that a pass to the end of the model has cached. */
export function settleCache(batch: Batch): void {
  if (batch.cache.kind === "none") return;
  for (const [b, row] of batch.cache.rows.entries()) row.length += batch.lengths[b]!;
}

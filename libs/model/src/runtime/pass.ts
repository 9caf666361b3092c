import { Tensor } from "onnxruntime-node";
import { applyEdits } from "../edits/apply.ts";
import { newRowsName } from "../graph/layer.ts";
import { fromTokens, residualName } from "../graph/segment.ts";
import { positionFeeds, tokenFeed, type Batch } from "./batch.ts";
import type { CacheShape } from "./kv-arena.ts";
import { floats, type Feeds } from "./session.ts";
import type { Segment, Segments } from "./segments.ts";

/** A residual point to read, before or after the edits there. */
export interface PointTap {
  readonly point: number;
  readonly afterEdits: boolean;
}

/** What a pass gives: residuals [B, S, D], padding included. */
export interface PassResult {
  /** At the last point, after its edits. May be the array of a tap. */
  readonly resid: Float32Array;
  /** In the order of the taps. */
  readonly taps: readonly Float32Array[];
}

/** Widths that a pass needs to know. */
export interface PassShape extends CacheShape {
  readonly dModel: number;
}

/**
 * Runs a batch from its tokens to residual point `to`, applying its sequences' edits at their points, reading the taps
 * (all at or before `to`) and keeping the new keys and values where the batch says.
 */
export async function runPass(segments: Segments, shape: PassShape, batch: Batch, to: number, taps: readonly PointTap[]): Promise<PassResult> {
  const { dModel } = shape;
  const edited = editedPoints(batch, to);
  const path = await segments.path(to, edited);
  const positions = positionFeeds(batch);
  const read: Float32Array[] = taps.map(() => new Float32Array());
  let resid: Float32Array = new Float32Array();
  for (const segment of path) {
    const feeds: Feeds = {};
    if (segment.from === fromTokens) feeds["input_ids"] = tokenFeed(batch);
    else feeds["resid_in"] = new Tensor("float32", resid, [batch.size, batch.steps, dModel]);
    if (segment.to > Math.max(segment.from, 0)) feedLayers(feeds, positions, segment, batch, shape);
    const inner = taps.filter((tap) => tap.point > segment.from && tap.point < segment.to).map((tap) => residualName(tap.point));
    const kept = batch.cache.kind === "none" ? [] : newRows(segment);
    const outputs = await segment.session.run(feeds, [...new Set([residualName(segment.to), ...inner, ...kept])]);
    keep(outputs, segment, batch);
    resid = floats(outputs, residualName(segment.to));
    const here = edited.includes(segment.to);
    for (const [i, tap] of taps.entries()) {
      if (tap.point > segment.from && tap.point < segment.to) read[i] = floats(outputs, residualName(tap.point));
      else if (tap.point === segment.to && !tap.afterEdits) read[i] = here ? resid.slice() : resid;
    }
    if (here) await applyEdits(segment.to, batch, resid, dModel);
    for (const [i, tap] of taps.entries()) {
      if (tap.point === segment.to && tap.afterEdits) read[i] = segment.to === to ? resid : resid.slice();
    }
  }
  return { resid, taps: read };
}

function editedPoints(batch: Batch, to: number): number[] {
  const points = new Set<number>();
  for (const edits of batch.edits) for (const point of edits?.compiled.points ?? []) if (point <= to) points.add(point);
  return [...points];
}

function newRows(segment: Segment): string[] {
  const names: string[] = [];
  for (let layer = Math.max(segment.from, 0); layer < segment.to; layer++) names.push(newRowsName(layer));
  return names;
}

function feedLayers(feeds: Feeds, positions: Feeds, segment: Segment, batch: Batch, shape: PassShape): void {
  const { cache } = batch;
  const from = Math.max(segment.from, 0);
  Object.assign(feeds, positions);
  if (cache.kind === "rows") {
    cache.arena.feed(feeds, from, segment.to, cache.first, batch.size);
    return;
  }
  const nothing = new Tensor("float32", new Float32Array(), [batch.size, shape.nKeyValueHeads, 0, shape.dHead]);
  for (let layer = from; layer < segment.to; layer++) {
    feeds[`past_key_${layer}`] = nothing;
    feeds[`past_value_${layer}`] = nothing;
  }
}

function keep(outputs: Feeds, segment: Segment, batch: Batch): void {
  const { cache } = batch;
  if (cache.kind === "none") return;
  for (let layer = Math.max(segment.from, 0); layer < segment.to; layer++) {
    const rows = floats(outputs, newRowsName(layer));
    for (const [b, row] of cache.rows.entries()) row.arena.append(row, layer, rows, batch, b);
  }
}

/** Counts the positions that a pass to the end of the model has cached. */
export function settleCache(batch: Batch): void {
  if (batch.cache.kind === "none") return;
  for (const [b, row] of batch.cache.rows.entries()) row.length += batch.lengths[b]!;
}

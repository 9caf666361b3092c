import type { Graph } from "../onnx/graph.ts";
import type { ModelSource } from "./model-source.ts";
import { graphHead } from "./head-width.ts";
import { floatWeight, layerModules, project } from "./projection.ts";
import { weightNames } from "./weight-table.ts";

/** RMSNorm (Zhang & Sennrich 2019, arXiv 1910.07467). */
export function rmsNorm(g: Graph, source: ModelSource, x: string, weight: string): string {
  return g.op("SimplifiedLayerNormalization", [x, floatWeight(g, source, weight)], { axis: -1, epsilon: { float: source.config.normEpsilon }, stash_type: 1 });
}

/** x + delta and its RMSNorm in one pass. */
function addAndNorm(g: Graph, source: ModelSource, x: string, delta: string, weight: string): { sum: string; normed: string } {
  const outputs = g.msN("SkipSimplifiedLayerNormalization", [x, delta, floatWeight(g, source, weight)], [true, false, false, true], { epsilon: { float: source.config.normEpsilon } });
  return { normed: outputs[0] ?? "", sum: outputs[3] ?? "" };
}

/** A residual stream whose last addition is still to be made, so that the next norm can be fused with it. */
export interface Stream {
  readonly x: string;
  readonly delta?: string;
}

/** The residual stream as one value. */
export function settle(g: Graph, stream: Stream): string {
  return stream.delta === undefined ? stream.x : g.op("Add", [stream.x, stream.delta]);
}

/** What the layers of a graph share. */
export interface LayerInputs {
  readonly lastPositions: string;
  readonly totalLength: string;
  readonly cos: string;
  readonly sin: string;
}

/** Name of the output with a layer's new keys and values, [B, S, width]: the last 2 · KV · head columns, head the graph's width of one, keys not rotated. */
export function newRowsName(layer: number): string {
  return `new_rows_${layer}`;
}

/** Queries narrower than this leave the graph with the keys and values: a copy of the few bytes costs less than a node. */
const narrowQueries = 2048;

/**
 * One Mistral layer: grouped-query attention with rotary positions, then SwiGLU. Queries, keys and values come from one
 * product, and so do gate and up. The attention operator rotates; only the new keys and values leave the graph
 * ({@link newRowsName}); the cache `past_key_{layer}`, `past_value_{layer}` [B, KV, P, head] is read, never returned.
 * `settled` is the residual before the layer, one value.
 */
export function addLayer(g: Graph, source: ModelSource, layer: number, stream: Stream, inputs: LayerInputs): { readonly settled: string; readonly after: Stream } {
  const { nHeads, nKeyValueHeads, dHead, dMlp } = source.config;
  const slidingWindow = source.config.slidingWindows[layer];
  const names = weightNames.layer(layer);
  // A stream that enters the graph settled is normed by the same operator, with nothing added: another one would round
  // otherwise, and residuals would then depend on where the model is cut.
  const delta = stream.delta ?? g.op("ConstantOfShape", [g.op("Shape", [stream.x])]);
  const { sum: settled, normed } = addAndNorm(g, source, stream.x, delta, names.attentionNorm);

  const modules = layerModules(source, layer);
  const headWidth = graphHead(source.config);
  const packed = project(g, source, normed, modules.queryKeyValue);
  const past = [`past_key_${layer}`, `past_value_${layer}`].map((name) => g.input(name, "float32", ["B", nKeyValueHeads, "P", headWidth]));
  const [attended = ""] = g.msN("GroupQueryAttention", [packed, "", "", ...past, inputs.lastPositions, inputs.totalLength, inputs.cos, inputs.sin], [true, true, true], {
    num_heads: nHeads,
    kv_num_heads: nKeyValueHeads,
    scale: { float: 1 / Math.sqrt(dHead) },
    do_rotary: 1,
    rotary_interleaved: 0,
    ...(slidingWindow === undefined ? {} : { local_window_size: slidingWindow }),
  });
  const dQuery = nHeads * headWidth;
  const width = dQuery + 2 * nKeyValueHeads * headWidth;
  const rows = dQuery < narrowQueries ? packed : g.op("Slice", [packed, g.int64(dQuery), g.int64(width), g.int64(2)]);
  g.output(newRowsName(layer), "float32", ["B", "S", dQuery < narrowQueries ? width : width - dQuery], rows);

  const middle = addAndNorm(g, source, settled, project(g, source, attended, modules.output), names.mlpNorm);
  const [gate = "", up = ""] = g.opN("Split", [project(g, source, middle.normed, modules.gateUp), g.int64(dMlp, dMlp)], 2, { axis: -1 });
  const hidden = g.op("Mul", [g.ms("QuickGelu", [gate], { alpha: { float: 1 } }), up]);
  return { settled, after: { x: middle.sum, delta: project(g, source, hidden, modules.down) } };
}

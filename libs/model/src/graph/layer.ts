import type { InnerHook } from "../hooks/inner-hooks.ts";
import { onnxDataTypes } from "../onnx/data-type.ts";
import type { Graph } from "../onnx/graph.ts";
import type { ModelSource } from "./model-source.ts";
import { graphHead, trimHeads } from "./head-width.ts";
import { floatWeight, layerModules, project } from "./projection.ts";
import { weightNames } from "./weight-table.ts";

/** RMSNorm (Zhang & Sennrich 2019, arXiv 1910.07467). */
export function rmsNorm(g: Graph, source: ModelSource, x: string, weight: string): string {
  return g.op("SimplifiedLayerNormalization", [x, floatWeight(g, source, weight)], { axis: -1, epsilon: { float: source.config.normEpsilon }, stash_type: 1 });
}

/**
 * The stream as one value and its RMSNorm, in one pass. A stream that enters the graph settled is normed by the same
 * operator, with nothing added: another one would round otherwise, and residuals would then depend on where the model
 * is cut.
 */
function enter(g: Graph, source: ModelSource, { x, delta = g.op("ConstantOfShape", [g.op("Shape", [x])]) }: Stream, weight: string): { sum: string; normed: string } {
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

/** Takes a value inside a layer that may be read; `make` adds it to the graph if it is wanted. */
export type PublishInner = (hook: InnerHook, make: () => string) => void;

/** What half a layer gives: the residual before it as one value, and the stream after it. */
export interface HalfLayer {
  readonly settled: string;
  readonly after: Stream;
}

/** What attention gives beside the stream. */
export interface Attention extends HalfLayer {
  /** [B, S, (H + 2 · KV) · head] queries, keys and values, not rotated. */
  readonly packed: string;
  /** [B, KV, P, head] the cache with the new positions, of the type of `past`. */
  readonly present: readonly [keys: string, values: string];
}

/**
 * The attention of a layer: grouped queries with rotary positions. Queries, keys and values come from one product, and the
 * attention operator rotates. `past` is the cache, [B, KV, P, head], of the type that attention computes in.
 */
export function addAttention(g: Graph, source: ModelSource, layer: number, stream: Stream, inputs: LayerInputs, past: readonly [keys: string, values: string], publish: PublishInner): Attention {
  const { config } = source;
  const { nHeads, nKeyValueHeads, dHead } = config;
  const slidingWindow = config.slidingWindows[layer];
  const { sum: settled, normed } = enter(g, source, stream, weightNames.layer(layer).attentionNorm);
  const modules = layerModules(source, layer);
  const headWidth = graphHead(config);
  const packed = project(g, source, normed, modules.queryKeyValue);
  const half = attentionType(source) === "float16";
  const queries = half ? g.op("Cast", [packed], { to: onnxDataTypes.float16 }) : packed;
  const [mixed = "", keys = "", values = ""] = g.msN("GroupQueryAttention", [queries, "", "", ...past, inputs.lastPositions, inputs.totalLength, inputs.cos, inputs.sin], [true, true, true], {
    num_heads: nHeads,
    kv_num_heads: nKeyValueHeads,
    scale: { float: 1 / Math.sqrt(dHead) },
    do_rotary: 1,
    rotary_interleaved: 0,
    ...(slidingWindow === undefined ? {} : { local_window_size: slidingWindow }),
  });
  const attended = half ? g.op("Cast", [mixed], { to: onnxDataTypes.float32 }) : mixed;
  const dQuery = nHeads * headWidth;
  const dKeyValue = nKeyValueHeads * headWidth;
  const columns = (start: number, end: number): string => g.op("Slice", [packed, g.int64(start), g.int64(end), g.int64(2)]);
  publish("attn.hook_q", () => trimHeads(g, columns(0, dQuery), config, nHeads));
  publish("attn.hook_k", () => trimHeads(g, columns(dQuery, dQuery + dKeyValue), config, nKeyValueHeads));
  publish("attn.hook_v", () => trimHeads(g, columns(dQuery + dKeyValue, dQuery + 2 * dKeyValue), config, nKeyValueHeads));
  publish("attn.hook_z", () => trimHeads(g, attended, config, nHeads));
  const out = project(g, source, attended, modules.output);
  publish("hook_attn_out", () => out);
  return { settled, after: { x: settled, delta: out }, packed, present: [keys, values] };
}

/** Publishes the new keys and values of a layer ({@link newRowsName}). */
export function publishNewRows(g: Graph, { config }: ModelSource, layer: number, packed: string): void {
  const dQuery = config.nHeads * graphHead(config);
  const width = dQuery + 2 * config.nKeyValueHeads * graphHead(config);
  const narrow = dQuery < narrowQueries;
  g.output(newRowsName(layer), "float32", ["B", "S", narrow ? width : width - dQuery], narrow ? packed : g.op("Slice", [packed, g.int64(dQuery), g.int64(width), g.int64(2)]));
}

/** What attention computes in: float32, but the CUDA provider's operator knows 16-bit floats only. */
export function attentionType({ provider }: ModelSource): "float32" | "float16" {
  return provider === "cuda" ? "float16" : "float32";
}

/** The MLP of a layer: SwiGLU (Shazeer 2020, arXiv 2002.05202). */
export function addMlp(g: Graph, source: ModelSource, layer: number, stream: Stream, publish: PublishInner): HalfLayer {
  const { sum: settled, normed } = enter(g, source, stream, weightNames.layer(layer).mlpNorm);
  const modules = layerModules(source, layer);
  const gate = g.ms("QuickGelu", [project(g, source, normed, modules.gate)], { alpha: { float: 1 } });
  const hidden = g.op("Mul", [gate, project(g, source, normed, modules.up)]);
  publish("mlp.hook_post", () => hidden);
  const out = project(g, source, hidden, modules.down);
  publish("hook_mlp_out", () => out);
  return { settled, after: { x: settled, delta: out } };
}

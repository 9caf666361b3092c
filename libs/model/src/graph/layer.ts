import type { Graph } from "../onnx/graph.ts";
import type { ModelSource } from "./model-source.ts";
import { weightNames } from "./weight-table.ts";

/** A weight as float32: its own values, or a Cast that onnxruntime folds when it loads the graph. */
export function floatWeight(g: Graph, source: ModelSource, name: string): string {
  const weight = source.weights.get(name);
  const value = g.external(weight.name, weight.type, weight.shape, weight.at);
  return weight.type === "float32" ? value : g.once(`${name}:float32`, () => g.op("Cast", [value], { to: 1 }));
}

/** x · Wᵀ with W [out, in] as it lies in the file: no transposed copy. */
export function linear(g: Graph, source: ModelSource, x: string, weight: string): string {
  return g.ms("FusedMatMul", [x, floatWeight(g, source, weight)], { transB: 1, alpha: { float: 1 } });
}

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
  readonly positionIds: string;
  readonly lastPositions: string;
  readonly totalLength: string;
  readonly cos: string;
  readonly sin: string;
}

/**
 * One Mistral layer: grouped-query attention with rotary positions, then SwiGLU. Keys are rotated outside the attention
 * operator, and only the new keys and values leave the graph (`new_key_{layer}`, `new_value_{layer}`, [B, S, KV · dHead]);
 * the cache `past_key_{layer}`, `past_value_{layer}` [B, KV, P, dHead] is read, never returned.
 * `settled` is the residual before the layer, one value.
 */
export function addLayer(g: Graph, source: ModelSource, layer: number, stream: Stream, inputs: LayerInputs): { readonly settled: string; readonly after: Stream } {
  const { nHeads, nKeyValueHeads, dHead, slidingWindow } = source.config;
  const names = weightNames.layer(layer);
  // A stream that enters the graph settled is normed by the same operator, with nothing added: another one would round
  // otherwise, and residuals would then depend on where the model is cut.
  const delta = stream.delta ?? g.op("ConstantOfShape", [g.op("Shape", [stream.x])]);
  const { sum: settled, normed } = addAndNorm(g, source, stream.x, delta, names.attentionNorm);

  const rotate = (x: string, heads: number): string => g.ms("RotaryEmbedding", [x, inputs.positionIds, inputs.cos, inputs.sin], { interleaved: 0, num_heads: heads });
  const query = rotate(linear(g, source, normed, names.query), nHeads);
  const key = rotate(linear(g, source, normed, names.key), nKeyValueHeads);
  const value = linear(g, source, normed, names.value);
  const past = [`past_key_${layer}`, `past_value_${layer}`].map((name) => g.input(name, "float32", ["B", nKeyValueHeads, "P", dHead]));
  const [attended = ""] = g.msN("GroupQueryAttention", [query, key, value, ...past, inputs.lastPositions, inputs.totalLength], [true, true, true], {
    num_heads: nHeads,
    kv_num_heads: nKeyValueHeads,
    scale: { float: 1 / Math.sqrt(dHead) },
    ...(slidingWindow === undefined ? {} : { local_window_size: slidingWindow }),
  });
  g.output(`new_key_${layer}`, "float32", ["B", "S", nKeyValueHeads * dHead], key);
  g.output(`new_value_${layer}`, "float32", ["B", "S", nKeyValueHeads * dHead], value);

  const middle = addAndNorm(g, source, settled, linear(g, source, attended, names.output), names.mlpNorm);
  const gate = linear(g, source, middle.normed, names.gate);
  const up = linear(g, source, middle.normed, names.up);
  const hidden = g.op("Mul", [g.ms("QuickGelu", [gate], { alpha: { float: 1 } }), up]);
  return { settled, after: { x: middle.sum, delta: linear(g, source, hidden, names.down) } };
}

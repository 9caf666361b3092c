import { Graph } from "../onnx/graph.ts";
import { addLayer, settle, type LayerInputs, type Stream } from "./layer.ts";
import { graphHead, padRotary } from "./head-width.ts";
import type { ModelSource } from "./model-source.ts";
import { weightNames } from "./weight-table.ts";

/** Name of the value that holds the residual after `point` layers. */
export function residualName(point: number): string {
  return `resid_${point}`;
}

/** The start of a segment that reads tokens; other segments start at a residual point. */
export const fromTokens = -1;

/**
 * The graph from one residual point to another: point c lies after c layers.
 *
 * Inputs: `input_ids` int64 [B, S] when `from` is {@link fromTokens}, else `resid_in` f32 [B, S, D]; where there are
 * layers `seqlens_k` int32 [B] (each row's past + S − 1), `total_sequence_length` int32
 * scalar (the largest past + S) and the cache of each layer. Outputs: `resid_{c}` f32 [B, S, D] for every point after
 * `from` up to `to`, and the new keys and values of each layer.
 */
export function buildSegment(source: ModelSource, from: number, to: number): Uint8Array {
  const { dModel } = source.config;
  const g = new Graph(`layers_${from}_${to}`);
  const publish = (point: number, value: string): string => g.output(residualName(point), "float32", ["B", "S", dModel], value);
  const first = Math.max(from, 0);
  let stream: Stream;
  if (from === fromTokens) {
    const table = source.weights.get(weightNames.embedding);
    const rows = g.op("Gather", [g.external(table.name, table.type, table.shape, table.at), g.input("input_ids", "int64", ["B", "S"])], { axis: 0 });
    stream = { x: table.type === "float32" ? rows : g.op("Cast", [rows], { to: 1 }) };
    publish(0, stream.x);
  } else {
    stream = { x: g.input("resid_in", "float32", ["B", "S", dModel]) };
  }
  if (to > first) {
    const inputs = layerInputs(g, source);
    for (let layer = first; layer < to; layer++) {
      const { settled, after } = addLayer(g, source, layer, stream, inputs);
      if (layer > first) publish(layer, settled);
      stream = after;
    }
    publish(to, settle(g, stream));
  }
  return g.modelBytes();
}

function layerInputs(g: Graph, source: ModelSource): LayerInputs {
  const { positions, half, cos, sin } = padRotary(source.rotary, graphHead(source.config));
  return {
    lastPositions: g.input("seqlens_k", "int32", ["B"]),
    totalLength: g.input("total_sequence_length", "int32", []),
    cos: g.constant("cos", "float32", [positions, half], cos),
    sin: g.constant("sin", "float32", [positions, half], sin),
  };
}

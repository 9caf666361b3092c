import type { AdditionKind } from "../edits/additions.ts";
import { lastPoint } from "../hooks/hook-name.ts";
import { innerHooks, innerName, type InnerHook } from "../hooks/inner-hooks.ts";
import { onnxDataTypes } from "../onnx/data-type.ts";
import { Graph } from "../onnx/graph.ts";
import { logitsOf } from "./head.ts";
import { graphHead, padRotary } from "./head-width.ts";
import { addAttention, addMlp, attentionType, publishNewRows, settle, type HalfLayer, type LayerInputs, type PublishInner, type Stream } from "./layer.ts";
import type { ModelSource } from "./model-source.ts";
import { weightNames } from "./weight-table.ts";

/** Name of the value that holds the residual at `point`. */
export function residualName(point: number): string {
  return `resid_${point}`;
}

/** Names of what is added at a point, of the residual after it, and of the lengths of the rows before it. */
export const additionNames = {
  raw: (point: number): string => `add_${point}`,
  byNorm: (point: number): string => `add_by_norm_${point}`,
  edited: (point: number): string => `edited_${point}`,
  norms: (point: number): string => `norms_${point}`,
} as const;

/** What a segment's graph can do beside running its layers. */
export interface SegmentExtras {
  /** Names of values inside layers that it gives. */
  readonly inner: ReadonlySet<string>;
  /** Points between its ends at which it adds rows that it is fed. */
  readonly additions: ReadonlyMap<number, AdditionKind>;
}

const noExtras: SegmentExtras = { inner: new Set(), additions: new Map() };

/** The start of a segment that reads tokens; other segments start at a residual point. */
export const fromTokens = -1;

/** Layers whose attention lies between two residual points: [first, end). */
export function attentionLayers(from: number, to: number): readonly [first: number, end: number] {
  return [Math.ceil(Math.max(from, 0) / 2), Math.ceil(to / 2)];
}

/**
 * The graph from one residual point to another: 2L is the point before layer L, 2L + 1 the one before its MLP.
 *
 * Inputs: `input_ids` int64 [B, S] when `from` is {@link fromTokens}, else `resid_in` f32 [B, S, D]; where there is
 * attention `seqlens_k` int32 [B] (each row's past + S − 1), `total_sequence_length` int32 scalar (the largest past + S)
 * and the cache of each layer; at the end of the model `logit_rows` int64 [R], rows of [B · S]. Outputs: `resid_{p}` f32
 * [B, S, D] for every point after `from` up to `to`, the new keys and values of each layer, the values inside layers whose
 * names ({@link innerName}) are in `inner`, and at the end of the model `logits` f32 [R, V]. At a point p of `additions` the
 * graph adds `add_{p}` f32 [B, S, D] to the residual, and by the norm also ‖h‖ `add_by_norm_{p}`; it gives `edited_{p}` f32
 * [B, S, D] and by the norm `norms_{p}` f32 [B, S, 1].
 */
export function buildSegment(source: ModelSource, from: number, to: number, { inner, additions }: SegmentExtras = noExtras): Uint8Array {
  const { dModel } = source.config;
  const g = new Graph(`points_${from}_${to}`);
  const publish = (name: string, value: string): string => g.output(name, "float32", ["B", "S", dModel], value);
  const publishInner =
    (layer: number): PublishInner =>
    (hook: InnerHook, make) => {
      const name = innerName(layer, hook);
      if (inner.has(name)) g.output(name, "float32", ["B", "S", innerHooks.get(hook)!.width(source.config)], make());
    };
  const first = Math.max(from, 0);
  let stream: Stream;
  if (from === fromTokens) {
    stream = { x: embed(g, source, g.input("input_ids", "int64", ["B", "S"])) };
    publish(residualName(0), stream.x);
  } else {
    stream = { x: g.input("resid_in", "float32", ["B", "S", dModel]) };
  }
  let inputs: LayerInputs | undefined;
  for (let half = first; half < to; half++) {
    const layer = half >> 1;
    const kind = half > first ? additions.get(half) : undefined;
    if (kind !== undefined) stream = addAt(g, source, half, stream, kind, publish);
    let result: HalfLayer;
    if (half % 2 === 0) {
      const attention = addAttention(g, source, layer, stream, (inputs ??= layerInputs(g, source)), pastInputs(g, source, layer), publishInner(layer));
      publishNewRows(g, source, layer, attention.packed);
      result = attention;
    } else {
      result = addMlp(g, source, layer, stream, publishInner(layer));
    }
    if (half > first) publish(kind === undefined ? residualName(half) : additionNames.edited(half), result.settled);
    stream = result.after;
  }
  if (to > first) {
    const end = settle(g, stream);
    publish(residualName(to), end);
    if (to === lastPoint(source.config.nLayers)) {
      const rows = g.op("Gather", [g.op("Reshape", [end, g.int64(-1, dModel)]), g.input("logit_rows", "int64", ["R"])], { axis: 0 });
      g.output("logits", "float32", ["R", source.config.dVocab], logitsOf(g, source, rows));
    }
  }
  return g.modelBytes();
}

/** The stream with what is fed for point `p` added to it. */
function addAt(g: Graph, { config }: ModelSource, p: number, stream: Stream, kind: AdditionKind, publish: (name: string, value: string) => string): Stream {
  const h = settle(g, stream);
  publish(residualName(p), h);
  const shape = ["B", "S", config.dModel];
  const raw = g.input(additionNames.raw(p), "float32", shape);
  if (kind === "raw") return { x: h, delta: raw };
  const norms = g.op("ReduceL2", [h, g.int64(-1)], { keepdims: 1 });
  g.output(additionNames.norms(p), "float32", ["B", "S", 1], norms);
  return { x: h, delta: g.op("Add", [raw, g.op("Mul", [norms, g.input(additionNames.byNorm(p), "float32", shape)])]) };
}

/** Rows of the embedding table, f32 [..., D]. */
export function embed(g: Graph, source: ModelSource, ids: string): string {
  const table = source.weights.get(weightNames.embedding);
  const rows = g.op("Gather", [g.external(table.name, table.type, table.shape, table.at), ids], { axis: 0 });
  return table.type === "float32" ? rows : g.op("Cast", [rows], { to: onnxDataTypes.float32 });
}

/** The inputs and tables that all layers share; a graph holds each once. */
export function layerInputs(g: Graph, source: ModelSource): LayerInputs {
  const { positions, half, cos, sin } = padRotary(source.rotary, graphHead(source.config));
  const table = (name: string, values: Float32Array): string => attentionValue(g, source, g.constant(name, "float32", [positions, half], values));
  return {
    lastPositions: g.input("seqlens_k", "int32", ["B"]),
    totalLength: g.input("total_sequence_length", "int32", []),
    cos: table("cos", cos),
    sin: table("sin", sin),
  };
}

/** A float32 value in the type that attention computes in. */
export function attentionValue(g: Graph, source: ModelSource, value: string): string {
  const type = attentionType(source);
  return type === "float32" ? value : g.op("Cast", [value], { to: onnxDataTypes[type] });
}

function pastInputs(g: Graph, source: ModelSource, layer: number): [string, string] {
  const shape = ["B", source.config.nKeyValueHeads, "P", graphHead(source.config)];
  const input = (name: string): string => attentionValue(g, source, g.input(name, "float32", shape));
  return [input(`past_key_${layer}`), input(`past_value_${layer}`)];
}

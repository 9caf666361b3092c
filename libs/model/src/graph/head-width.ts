import type { Graph } from "../onnx/graph.ts";
import type { ModelConfig } from "../config/model-config.ts";
import type { RotaryTables } from "./rotary.ts";

/** What the attention operator of onnxruntime wants of the width of a head that it rotates. */
const multiple = 16;

/**
 * The width that heads have in the graph and in the cache: dHead, or the next multiple of 16. A head [x, y] of two halves
 * becomes [x, 0, y, 0], so that each value keeps the partner it is rotated with and the zeros add nothing to any product.
 */
export function graphHead({ dHead }: Pick<ModelConfig, "dHead">): number {
  return Math.ceil(dHead / multiple) * multiple;
}

/** The tables for heads of width {@link graphHead}. */
export function padRotary(tables: RotaryTables, width: number): RotaryTables {
  const half = width / 2;
  if (half === tables.half) return tables;
  const cos = new Float32Array(tables.positions * half);
  const sin = new Float32Array(tables.positions * half);
  for (let position = 0; position < tables.positions; position++) {
    cos.set(tables.cos.subarray(position * tables.half, (position + 1) * tables.half), position * half);
    sin.set(tables.sin.subarray(position * tables.half, (position + 1) * tables.half), position * half);
  }
  return { positions: tables.positions, half, cos, sin };
}

/** A weight whose rows [heads · dHead, k] or columns [n, heads · dHead] are heads, for heads of the graph's width. Folded when the graph is loaded. */
export function padHeads(g: Graph, weight: string, config: ModelConfig, heads: number, side: "rows" | "columns"): string {
  const width = graphHead(config);
  const { dHead, dModel } = config;
  if (width === dHead) return weight;
  const missing = (width - dHead) / 2;
  const [parts, pads, whole] =
    side === "rows"
      ? [[heads * 2, dHead / 2, dModel], [0, 0, 0, 0, missing, 0], [heads * width, dModel]]
      : [[dModel, heads * 2, dHead / 2], [0, 0, 0, 0, 0, missing], [dModel, heads * width]];
  return g.op("Reshape", [g.op("Pad", [g.op("Reshape", [weight, g.int64(...parts)]), g.int64(...pads)]), g.int64(...whole)]);
}

/** Rows [B, S, heads · graph's width] as the model's own heads, [B, S, heads · dHead]. */
export function trimHeads(g: Graph, rows: string, config: ModelConfig, heads: number): string {
  const width = graphHead(config);
  const { dHead } = config;
  if (width === dHead) return rows;
  const halves = g.op("Reshape", [rows, g.int64(0, 0, heads * 2, width / 2)]);
  return g.op("Reshape", [g.op("Slice", [halves, g.int64(0), g.int64(dHead / 2), g.int64(3)]), g.int64(0, 0, heads * dHead)]);
}

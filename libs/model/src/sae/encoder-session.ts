import { Tensor } from "onnxruntime-node";
import { Graph } from "../onnx/graph.ts";
import { floats, ints, type SessionSettings } from "../runtime/session.ts";
import { Sessions } from "../runtime/sessions.ts";
import type { CanonicalSae } from "./canonical.ts";

/**
 * The dense part of encoding. The weights are inputs of the graphs, so they stay where they are, may exceed a graph's
 * 2 GiB, and one pair of sessions serves every SAE.
 */
export class EncoderSessions {
  readonly #sessions: Sessions;

  constructor(settings: SessionSettings) {
    this.#sessions = new Sessions(settings);
  }

  /** The k largest pre-activations of each row, descending and then rectified: `values` f32 and `indices` int32 [n, k]. */
  async topK(sae: CanonicalSae, rows: Float32Array, n: number, k: number): Promise<{ values: Float32Array; indices: Int32Array }> {
    const session = await this.#sessions.get("topk", buildTopK);
    const outputs = await session.run({ ...feeds(sae.wEnc, sae.bias, rows, n, sae.dIn), k: new Tensor("int64", BigInt64Array.of(BigInt(k)), [1]) }, ["values", "indices"]);
    return { values: floats(outputs, "values"), indices: ints(outputs, "indices") };
  }

  /** rows · matrixᵀ + bias, [n, bias.length]. */
  async dense(matrix: Float32Array, bias: Float32Array, rows: Float32Array, n: number, d: number): Promise<Float32Array> {
    const session = await this.#sessions.get("dense", buildDense);
    return floats(await session.run(feeds(matrix, bias, rows, n, d), ["pre"]), "pre");
  }

  /** The k largest of each row of rows · matrixᵀ + bias, each feature's then times its scale: `values` f32 and `indices` int32 [n, k], descending. */
  async nearest(matrix: Float32Array, bias: Float32Array, scale: Float32Array, rows: Float32Array, n: number, d: number, k: number): Promise<{ values: Float32Array; indices: Int32Array }> {
    const session = await this.#sessions.get("nearest", buildNearest);
    const outputs = await session.run({ ...feeds(matrix, bias, rows, n, d), scale: new Tensor("float32", scale, [scale.length]), k: new Tensor("int64", BigInt64Array.of(BigInt(k)), [1]) }, ["values", "indices"]);
    return { values: floats(outputs, "values"), indices: ints(outputs, "indices") };
  }

  async close(): Promise<void> {
    await this.#sessions.close();
  }
}

function feeds(matrix: Float32Array, bias: Float32Array, rows: Float32Array, n: number, d: number): Record<string, Tensor> {
  return {
    x: new Tensor("float32", rows.subarray(0, n * d), [n, d]),
    w: new Tensor("float32", matrix, [bias.length, d]),
    b: new Tensor("float32", bias, [bias.length]),
  };
}

function preActivations(g: Graph): string {
  return g.op("Gemm", [g.input("x", "float32", ["R", "D"]), g.input("w", "float32", ["N", "D"]), g.input("b", "float32", ["N"])], { transB: 1 });
}

function buildTopK(): Uint8Array {
  const g = new Graph("encode_topk");
  const [values = "", indices = ""] = g.opN("TopK", [preActivations(g), g.input("k", "int64", [1])], 2, { axis: -1, largest: 1, sorted: 1 });
  g.output("values", "float32", ["R", "k"], g.op("Relu", [values]));
  g.output("indices", "int32", ["R", "k"], g.op("Cast", [indices], { to: 6 }));
  return g.modelBytes();
}

function buildNearest(): Uint8Array {
  const g = new Graph("nearest");
  const scaled = g.op("Mul", [preActivations(g), g.input("scale", "float32", ["N"])]);
  const [values = "", indices = ""] = g.opN("TopK", [scaled, g.input("k", "int64", [1])], 2, { axis: -1, largest: 1, sorted: 1 });
  g.output("values", "float32", ["R", "k"], values);
  g.output("indices", "int32", ["R", "k"], g.op("Cast", [indices], { to: 6 }));
  return g.modelBytes();
}

function buildDense(): Uint8Array {
  const g = new Graph("encode_dense");
  g.output("pre", "float32", ["R", "N"], preActivations(g));
  return g.modelBytes();
}

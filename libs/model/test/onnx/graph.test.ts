import { InferenceSession, Tensor } from "onnxruntime-node";
import { describe, expect, it } from "vitest";
import { Graph } from "../../src/onnx/graph.ts";

async function run(graph: Graph, feeds: Record<string, Tensor>): Promise<InferenceSession.OnnxValueMapType> {
  const session = await InferenceSession.create(graph.modelBytes(), { logSeverityLevel: 3 });
  try {
    return await session.run(feeds);
  } finally {
    await session.release();
  }
}

describe("Graph", () => {
  it("writes a model that onnxruntime loads and runs", async () => {
    const g = new Graph("gemm");
    const x = g.input("x", "float32", ["rows", 2]);
    const w = g.constant("w", "float32", [3, 2], Float32Array.of(1, 2, 3, 4, 5, 6));
    const y = g.op("Gemm", [x, w], { transB: 1, alpha: { float: 0.5 } });
    const [values = "", indices = ""] = g.opN("TopK", [y, g.int64(2)], 2, { axis: -1, largest: 1, sorted: 1 });
    g.output("values", "float32", ["rows", 2], values);
    g.output("indices", "int64", ["rows", 2], indices);
    const result = await run(g, { x: new Tensor("float32", Float32Array.of(1, 1), [1, 2]) });
    expect(result["values"]?.data).toEqual(Float32Array.of(5.5, 3.5));
    expect(result["indices"]?.data).toEqual(BigInt64Array.of(2n, 1n));
  });

  it("writes a constant once however often it is asked for", async () => {
    const g = new Graph("constants");
    const x = g.input("x", "float32", [2]);
    g.output("y", "float32", [2], g.op("Add", [g.op("Mul", [x, g.float(2)]), g.float(2)]));
    const result = await run(g, { x: new Tensor("float32", Float32Array.of(1, 2), [2]) });
    expect(result["y"]?.data).toEqual(Float32Array.of(4, 6));
  });

  it("writes sub-graphs that read values of the graph around them", async () => {
    const g = new Graph("outer");
    const n = g.input("n", "int64", []);
    const x = g.input("x", "float32", [1]);
    const body = new Graph("body");
    body.input("i", "int64", []);
    const go = body.input("go", "bool", []);
    const sum = body.input("sum", "float32", [1]);
    body.output("go_out", "bool", [], body.op("Identity", [go]));
    body.output("sum_out", "float32", [1], body.op("Add", [sum, x]));
    g.output("y", "float32", [1], g.op("Loop", [n, "", x], { body: { graph: body.graphBytes() } }));
    const result = await run(g, { n: new Tensor("int64", BigInt64Array.of(4n), []), x: new Tensor("float32", Float32Array.of(3), [1]) });
    expect(result["y"]?.data).toEqual(Float32Array.of(15));
  });
});

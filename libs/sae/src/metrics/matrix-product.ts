import { Graph } from "@mistral-sae/model";
import * as ort from "onnxruntime-node";
import { sessionOptions } from "../session-options.ts";

/** Products of rows with large matrices on onnxruntime. Matrices are inputs of the graph: they stay where they are and are not copied. */
export class MatrixProduct {
  readonly #session: ort.InferenceSession;

  private constructor(session: ort.InferenceSession) {
    this.#session = session;
  }

  static async open(threads: number): Promise<MatrixProduct> {
    const graph = new Graph("rows_times_matrix");
    const inputs = [graph.input("rows", "float32", ["R", "D"]), graph.input("matrix", "float32", ["N", "D"]), graph.input("bias", "float32", ["N"])];
    graph.output("product", "float32", ["R", "N"], graph.op("Gemm", inputs, { transB: 1 }));
    const session = await ort.InferenceSession.create(graph.modelBytes(), sessionOptions(threads));
    return new MatrixProduct(session);
  }

  /** rows [r, d] · matrix [n, d]ᵀ + bias [n], [r, n]. */
  async run(rows: Float32Array, matrix: Float32Array, bias: Float32Array, d: number): Promise<Float32Array> {
    const feeds = {
      rows: new ort.Tensor("float32", rows, [rows.length / d, d]),
      matrix: new ort.Tensor("float32", matrix, [bias.length, d]),
      bias: new ort.Tensor("float32", bias, [bias.length]),
    };
    const { product } = await this.#session.run(feeds, ["product"]);
    return product!.data as Float32Array;
  }

  async close(): Promise<void> {
    await this.#session.release();
  }
}

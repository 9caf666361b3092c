import { Graph } from "@mistral-sae/model";
import * as ort from "onnxruntime-node";

const LEAST_ROWS = 1_024;

/** Products of many rows with one vector on onnxruntime, which reads the rows where they lie. */
export class RowProduct {
  readonly #session: ort.InferenceSession;

  private constructor(session: ort.InferenceSession) {
    this.#session = session;
  }

  static async open(threads: number): Promise<RowProduct> {
    const graph = new Graph("rows_times_vector");
    const product = graph.op("MatMul", [graph.input("rows", "float32", ["N", "D"]), graph.input("vector", "float32", ["D", 1])]);
    graph.output("product", "float32", ["N", 1], product);
    const options = { intraOpNumThreads: threads, interOpNumThreads: 1, executionMode: "sequential", logSeverityLevel: 3, extra: { session: { intra_op: { allow_spinning: "0" } } } } as const;
    return new RowProduct(await ort.InferenceSession.create(graph.modelBytes(), options));
  }

  /** rows [n, d] · vector [d]. */
  async run(rows: Float32Array, vector: Float32Array): Promise<Float32Array> {
    const n = rows.length / vector.length;
    const { product } = await this.#session.run({ rows: new ort.Tensor("float32", rows, [n, vector.length]), vector: new ort.Tensor("float32", vector, [vector.length, 1]) }, ["product"]);
    return product!.data as Float32Array;
  }
}

/** Vectors of length 1 by row; rows that were never set are 0. In blocks, so that more rows move none that are there. */
export class VectorRows {
  /** Each holds twice as many rows as the one before. */
  readonly #blocks: Float32Array[] = [];
  readonly #firstRows: number;
  #dimension = 0;
  /** Rows up to the last one that was set. */
  #used = 0;

  /** `expected` rows are one block, which is one product a search. */
  constructor(expected: number = LEAST_ROWS) {
    this.#firstRows = Math.max(LEAST_ROWS, expected);
  }

  /** 0 before the first one. */
  get dimension(): number {
    return this.#dimension;
  }

  get bytes(): number {
    return this.#blocks.reduce((sum, block) => sum + block.byteLength, 0);
  }

  /** The vector is scaled to length 1 and copied. @throws Error when its dimension is not that of the others. */
  set(row: number, vector: Float32Array): void {
    if (this.#dimension === 0) this.#dimension = vector.length;
    if (vector.length !== this.#dimension) throw new Error(`a vector has ${vector.length} values, wanted the ${this.#dimension} of the others`);
    const norm = Math.hypot(...vector);
    const into = this.#row(row);
    this.#used = Math.max(this.#used, row + 1);
    for (let i = 0; i < vector.length; i++) into[i] = norm > 0 ? (vector[i] as number) / norm : 0;
  }

  clear(row: number): void {
    if (row < this.#used) this.#row(row).fill(0);
  }

  /** Calls `found` with the cosine of each row and the vector, 0 for rows that are not set, in their order. */
  async cosines(product: RowProduct, vector: Float32Array, found: (row: number, cosine: number) => void): Promise<void> {
    const norm = Math.hypot(...vector);
    if (norm === 0 || this.#dimension === 0) return;
    const unit = vector.map((value) => value / norm);
    for (const [block, rows] of this.#blocks.entries()) {
      const first = this.#firstRow(block);
      const cosines = await product.run(rows.subarray(0, Math.max(0, this.#used - first) * this.#dimension), unit);
      for (let i = 0; i < cosines.length; i++) found(first + i, cosines[i] as number);
    }
  }

  #row(row: number): Float32Array {
    const block = 31 - Math.clz32(Math.floor(row / this.#firstRows) + 1);
    while (this.#blocks.length <= block) this.#blocks.push(new Float32Array(this.#firstRows * 2 ** this.#blocks.length * this.#dimension));
    const start = (row - this.#firstRow(block)) * this.#dimension;
    return (this.#blocks[block] as Float32Array).subarray(start, start + this.#dimension);
  }

  #firstRow(block: number): number {
    return this.#firstRows * (2 ** block - 1);
  }
}

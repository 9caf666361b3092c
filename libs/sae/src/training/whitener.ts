import { Graph } from "@mistral-sae/model";
import * as ort from "onnxruntime-node";
import { sessionOptions } from "../session-options.ts";
import type { TrainerMemory } from "./trainer-memory.ts";

/** Whitens batches on onnxruntime: target = (slot - mean)·M, one dense product of d_in² for each row. */
export class Whitener {
  readonly #memory: TrainerMemory;
  readonly #session: ort.InferenceSession;

  private constructor(memory: TrainerMemory, session: ort.InferenceSession) {
    this.#memory = memory;
    this.#session = session;
  }

  static async create(memory: TrainerMemory): Promise<Whitener> {
    const { batch, stride, threads } = memory.layout;
    const width = stride / 4;
    const graph = new Graph("whiten");
    const away = graph.op("Sub", [graph.input("rows", "float32", [batch, width]), graph.input("mean", "float32", [width])]);
    graph.output("target", "float32", [batch, width], graph.op("Gemm", [away, graph.input("matrix_t", "float32", [width, width])], { transB: 1 }));
    const session = await ort.InferenceSession.create(graph.modelBytes(), sessionOptions(threads));
    return new Whitener(memory, session);
  }

  /** Fills the region `target` with the slot's rows, whitened. */
  async run(slot: number): Promise<void> {
    const { at, batch, stride } = this.#memory.layout;
    const width = stride / 4;
    const tensor = (values: Float32Array, dims: readonly number[]): ort.Tensor => new ort.Tensor("float32", values, dims);
    const target = new Float32Array(this.#memory.buffer, at.target, batch * width);
    await this.#session.run(
      { rows: tensor(this.#memory.slot(slot), [batch, width]), mean: tensor(this.#memory.whitening("mean"), [width]), matrix_t: tensor(this.#memory.whitening("rows"), [width, width]) },
      { target: tensor(target, [batch, width]) },
    );
  }

  async close(): Promise<void> {
    await this.#session.release();
  }
}

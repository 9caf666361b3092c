import { Graph } from "@mistral-sae/model";
import * as ort from "onnxruntime-node";
import { sessionOptions } from "../session-options.ts";
import type { TrainerLayout } from "./layout.ts";
import type { OptimisedVector } from "./optimise.ts";
import type { TrainerMemory } from "./trainer-memory.ts";

/**
 * W_skip of a transcoder, which adds W_skip·input to the reconstruction. Taken off the target instead, it leaves the rest of a step
 * as it is. It lies as [stride / 4, stride / 4], zero beyond d_out rows and d_in columns.
 */
export class SkipConnection {
  readonly #memory: TrainerMemory;
  readonly #forward: ort.InferenceSession;
  readonly #backward: ort.InferenceSession;

  private constructor(memory: TrainerMemory, forward: ort.InferenceSession, backward: ort.InferenceSession) {
    this.#memory = memory;
    this.#forward = forward;
    this.#backward = backward;
  }

  static async create(memory: TrainerMemory): Promise<SkipConnection> {
    const { layout } = memory;
    const session = async (graph: Graph): Promise<ort.InferenceSession> => await ort.InferenceSession.create(graph.modelBytes(), sessionOptions(layout.threads));
    return new SkipConnection(memory, await session(forwardGraph(layout)), await session(backwardGraph(layout)));
  }

  /** skipTarget = target - W_skip·input. */
  async forward(): Promise<void> {
    const { at, batch, stride } = this.#memory.layout;
    const feeds = { input: this.#tensor(at.centered, batch), target: this.#tensor(at.target, batch), w_skip: this.#tensor(at.wSkip, stride / 4) };
    await this.#forward.run(feeds, { rest: this.#tensor(at.skipTarget, batch) });
  }

  /** gSkip = gᵀ·input, from the gradient at the reconstruction; returns Σ of its squares. */
  async backward(): Promise<number> {
    const { at, batch, d, dOut, stride } = this.#memory.layout;
    await this.#backward.run({ g: this.#tensor(at.g, batch), input: this.#tensor(at.centered, batch) }, { g_skip: this.#tensor(at.gSkip, stride / 4) });
    let squares = 0;
    for (let row = 0; row < dOut; row++) {
      const gradient = this.#memory.row("gSkip", row);
      // The input's 1 for the encoder's bias: the output has b_dec.
      gradient[d] = 0;
      for (let i = 0; i < d; i++) squares += gradient[i]! * gradient[i]!;
    }
    return squares;
  }

  async close(): Promise<void> {
    await this.#forward.release();
    await this.#backward.release();
  }

  #tensor(offset: number, rows: number): ort.Tensor {
    const { stride } = this.#memory.layout;
    return new ort.Tensor("float32", new Float32Array(this.#memory.buffer, offset, (rows * stride) / 4), [rows, stride / 4]);
  }
}

/** W_skip for the optimiser, where there is one. */
export function skipVectorsOf({ layout: { at, skips, stride } }: TrainerMemory): OptimisedVector[] {
  return skips ? [{ p: at.wSkip, g: at.gSkip, m: at.mSkip, v: at.vSkip, bytes: (stride / 4) * stride }] : [];
}

function forwardGraph({ batch, stride }: TrainerLayout): Graph {
  const graph = new Graph("skip");
  const width = stride / 4;
  const skipped = graph.op("Gemm", [graph.input("input", "float32", [batch, width]), graph.input("w_skip", "float32", [width, width])], { transB: 1 });
  graph.output("rest", "float32", [batch, width], graph.op("Sub", [graph.input("target", "float32", [batch, width]), skipped]));
  return graph;
}

function backwardGraph({ batch, stride }: TrainerLayout): Graph {
  const graph = new Graph("skip_gradient");
  const width = stride / 4;
  graph.output("g_skip", "float32", [width, width], graph.op("Gemm", [graph.input("g", "float32", [batch, width]), graph.input("input", "float32", [batch, width])], { transA: 1 }));
  return graph;
}

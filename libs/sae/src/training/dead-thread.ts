import { Graph } from "@mistral-sae/model";
import * as ort from "onnxruntime-node";
import { sessionOptions } from "../session-options.ts";
import { Arg, type Share } from "./phase-args.ts";

/** Latents of a tile; the kernel knows it too. */
export const deadTile = 256;

/** One thread's part of what AuxK encodes: the largest positive pre-activations of its rows among the dead latents. */
export class DeadThread {
  readonly #share: Share;
  readonly #session: ort.InferenceSession;
  readonly #b0: number;
  readonly #b1: number;
  readonly #weights: ort.InferenceSession.FeedsType;

  private constructor(share: Share, session: ort.InferenceSession) {
    const { layout: { at, batch, h, stride, threads }, memory: { buffer }, thread } = share;
    this.#share = share;
    this.#session = session;
    this.#b0 = Math.floor((batch * thread) / threads);
    this.#b1 = Math.floor((batch * (thread + 1)) / threads);
    const matrix = (offset: number, rows: number): ort.Tensor => new ort.Tensor("float32", new Float32Array(buffer, offset, (rows * stride) / 4), [rows, stride / 4]);
    this.#weights = { centered: matrix(at.centered + this.#b0 * stride, this.#b1 - this.#b0), w_enc: matrix(at.wEnc, h) };
  }

  static async create(share: Share): Promise<DeadThread> {
    return new DeadThread(share, await ort.InferenceSession.create(deadGraph(share.layout).modelBytes(), sessionOptions(1)));
  }

  /** Fills auxVals and auxSource of the thread's rows, [rows, auxK], from the first `deadCount` latents of the list `dead`. */
  async run(): Promise<number> {
    const { kernels, layout: { at, h }, memory: { buffer }, args, thread } = this.#share;
    const [deadCount, rows] = [args[Arg.deadCount]!, this.#b1 - this.#b0];
    const pre = at.auxPre + this.#b0 * h * 4;
    for (let first = 0; first < deadCount; first += deadTile) {
      const width = Math.min(deadTile, deadCount - first);
      const dead = new ort.Tensor("int32", new Int32Array(buffer, at.dead + first * 4, width), [width]);
      const target = new ort.Tensor("float32", new Float32Array(buffer, pre + first * rows * 4, rows * width), [rows, width]);
      const { pre: copy } = await this.#session.run({ ...this.#weights, dead }, { pre: target });
      // What onnxruntime returns is a copy, given back at once: see ScoreThread.
      (copy!.data as Float32Array<ArrayBuffer>).buffer.transfer(0);
    }
    kernels.topPositive(pre, at.dead, deadCount, args[Arg.auxK]!, at.auxVals, at.auxSource, at.auxScratch + thread * (h + 4) * 4, this.#b0, this.#b1);
    return 0;
  }

  async close(): Promise<void> {
    await this.#session.release();
  }
}

function deadGraph({ h, stride }: Share["layout"]): Graph {
  const graph = new Graph("encode_dead");
  const w = graph.input("w_enc", "float32", [h, stride / 4]);
  const rows = graph.op("Gather", [w, graph.input("dead", "int32", ["width"])], { axis: 0 });
  graph.output("pre", "float32", ["rows", "width"], graph.op("Gemm", [graph.input("centered", "float32", ["rows", stride / 4]), rows], { transB: 1 }));
  return graph;
}

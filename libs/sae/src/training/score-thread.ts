import { Graph } from "@mistral-sae/model";
import * as ort from "onnxruntime-node";
import { sessionOptions } from "../session-options.ts";
import { Arg, type Share } from "./phase-args.ts";
import { scoreTile } from "./preselect-layout.ts";

/** Bytes are stored around this: the product's left side is unsigned. */
const inputZero = 128;

/**
 * One thread's part of a {@link Preselection}: 8-bit scores of its rows, a tile of latents after the other, on a session of its own.
 * Its tile stays in its cache, and so does the copy of it that onnxruntime returns.
 */
export class ScoreThread {
  readonly #share: Share;
  readonly #session: ort.InferenceSession;
  readonly #b0: number;
  readonly #b1: number;
  readonly #tiles: readonly { readonly width: number; readonly feeds: ort.InferenceSession.FeedsType; readonly fetches: ort.InferenceSession.FetchesType }[];

  private constructor(share: Share, session: ort.InferenceSession) {
    const { layout: { at, batch, h, stride, threads, preselect }, memory: { buffer }, thread } = share;
    const columns = stride / 4;
    this.#share = share;
    this.#session = session;
    this.#b0 = Math.floor((batch * thread) / threads);
    this.#b1 = Math.floor((batch * (thread + 1)) / threads);
    const rows = this.#b1 - this.#b0;
    const input = new ort.Tensor("uint8", new Uint8Array(buffer, at.inputBytes + this.#b0 * columns, rows * columns), [rows, columns]);
    this.#tiles = Array.from({ length: preselect?.tiles ?? 0 }, (_, t) => {
      const first = t * scoreTile;
      const width = Math.min(scoreTile, h - first);
      return {
        width,
        feeds: {
          input,
          latents: new ort.Tensor("int8", new Int8Array(buffer, at.latentBytes + first * columns, columns * scoreTile).subarray(0, columns * width), [columns, width]),
          scales: new ort.Tensor("float32", new Float32Array(buffer, at.latentScales + first * 4, width), [width]),
          zeros: new ort.Tensor("int8", new Int8Array(buffer, at.zeroPoints, width), [width]),
        },
        fetches: { scores: new ort.Tensor("uint8", new Uint8Array(buffer, at.scores + this.#b0 * scoreTile, rows * width), [rows, width]) },
      };
    });
  }

  static async create(share: Share): Promise<ScoreThread> {
    return new ScoreThread(share, await ort.InferenceSession.create(scoreGraph().modelBytes(), sessionOptions(1)));
  }

  /** Whether products of bytes are exact here: some processors' instructions saturate sums of two at 16 bits. */
  async isExact(): Promise<boolean> {
    const [columns, most, score] = [64, 127, 200];
    const filled = <T extends Uint8Array | Int8Array>(values: T, value: number): T => values.fill(value) as T;
    const { scores } = await this.#session.run({
      input: new ort.Tensor("uint8", filled(new Uint8Array(16 * columns), inputZero + most), [16, columns]),
      latents: new ort.Tensor("int8", filled(new Int8Array(columns * 16), most), [columns, 16]),
      scales: new ort.Tensor("float32", new Float32Array(16).fill(1), [16]),
      zeros: new ort.Tensor("int8", new Int8Array(16), [16]),
      unit: new ort.Tensor("float32", Float32Array.of((columns * most * most) / score), []),
    });
    return (scores!.data as Uint8Array).every((value) => value === score);
  }

  /** Chooses the thread's rows; returns how many could not be proven. */
  async run(): Promise<number> {
    const { kernels, layout: { at, stride, preselect }, args, thread } = this.#share;
    const { tiles, candidates, scratchBytes } = preselect!;
    const [k, value, b0, b1] = [args[Arg.k]!, args[Arg.scoreUnit]!, this.#b0, this.#b1];
    const unit = new ort.Tensor("float32", Float32Array.of(value), []);
    kernels.beginRows(at.candidateStates, at.scoreHistograms, b0, b1);
    for (const [t, { width, feeds, fetches }] of this.#tiles.entries()) {
      const { scores } = await this.#session.run({ ...feeds, unit }, fetches);
      // The copy that onnxruntime returns is given back at once: waiting for the collector costs more than the product.
      (scores!.data as Uint8Array<ArrayBuffer>).buffer.transfer(0);
      kernels.scanTile(at.scores + b0 * scoreTile, width, t, k, at.inputBounds, at.tileBounds, value, at.candidateStates, at.scoreHistograms, at.candidates, candidates, b0, b1);
    }
    return kernels.finishRows(at.centered, at.wEnc, k, at.inputBounds, at.tileBounds, tiles, value, at.candidateStates, at.candidates, candidates, at.preselectScratch + thread * scratchBytes, at.vals, at.idx, at.failedRows + b0 * 4, b0, b1, stride);
  }

  async close(): Promise<void> {
    await this.#session.release();
  }
}

function scoreGraph(): Graph {
  const graph = new Graph("score");
  const inputs = [
    graph.input("input", "uint8", ["rows", "columns"]),
    graph.constant("one", "float32", [], Float32Array.of(1)),
    graph.constant("input_zero", "uint8", [], Uint8Array.of(inputZero)),
    graph.input("latents", "int8", ["columns", "width"]),
    graph.input("scales", "float32", ["width"]),
    graph.input("zeros", "int8", ["width"]),
    graph.input("unit", "float32", []),
    graph.constant("zero", "uint8", [], Uint8Array.of(0)),
  ];
  graph.output("scores", "uint8", ["rows", "width"], graph.op("QLinearMatMul", inputs));
  return graph;
}

import { Graph } from "@mistral-sae/model";
import * as ort from "onnxruntime-node";
import { sessionOptions } from "../session-options.ts";
import { chunkCount } from "./chunks.ts";
import type { TrainerLayout } from "./layout.ts";

/** The dense half of a step on onnxruntime: the largest pre-activations of every row, among all latents or among the dead. */
export class TrainerEncoder {
  readonly #layout: TrainerLayout;
  readonly #buffer: ArrayBufferLike;
  readonly #main: ort.InferenceSession;
  readonly #weights: ort.InferenceSession.FeedsType;
  readonly #some: ort.InferenceSession | undefined;
  readonly #auxTop: ort.InferenceSession | undefined;
  readonly #auxAll: ort.InferenceSession | undefined;

  private constructor(layout: TrainerLayout, memory: WebAssembly.Memory, main: ort.InferenceSession, some: ort.InferenceSession | undefined, auxTop: ort.InferenceSession | undefined, auxAll: ort.InferenceSession | undefined) {
    this.#layout = layout;
    this.#buffer = memory.buffer;
    this.#main = main;
    this.#some = some;
    this.#auxTop = auxTop;
    this.#auxAll = auxAll;
    const { at, batch, h, stride } = layout;
    this.#weights = { centered: this.#f32(at.centered, [batch, stride / 4]), w_enc: this.#f32(at.wEnc, [h, stride / 4]) };
  }

  static async create(layout: TrainerLayout, memory: WebAssembly.Memory): Promise<TrainerEncoder> {
    const session = (graph: Graph): Promise<ort.InferenceSession> => ort.InferenceSession.create(graph.modelBytes(), sessionOptions(layout.threads));
    const aux = layout.kAux > 0;
    return new TrainerEncoder(layout, memory, await session(mainGraph(layout)), layout.preselect === undefined ? undefined : await session(someRowsGraph(layout)), aux && !layout.topsDead ? await session(auxGraph(layout, true)) : undefined, aux ? await session(auxGraph(layout, false)) : undefined);
  }

  /** Fills vals and idx [batch, k] with the k largest pre-activations of every row, of either sign, in no order. */
  async encode(k: number): Promise<void> {
    const { at, batch } = this.#layout;
    const feeds = { ...this.#weights, k: new ort.Tensor("int64", BigInt64Array.of(BigInt(k)), [1]) };
    await this.#main.run(feeds, { vals: this.#f32(at.vals, [batch, k]), idx: this.#i32(at.idx, [batch, k]) });
  }

  /** Does what encode does for these rows alone. The rows of g are overwritten. */
  async encodeRows(rows: readonly number[], k: number): Promise<void> {
    const { at, stride, width } = this.#layout;
    const bytes = new Uint8Array(this.#buffer);
    const [vals, idx] = [new Float32Array(this.#buffer, at.vals), new Int32Array(this.#buffer, at.idx)];
    for (let first = 0; first < rows.length; first += mostRowsAtOnce) {
      const some = rows.slice(first, first + mostRowsAtOnce);
      for (const [i, row] of some.entries()) bytes.copyWithin(at.g + i * stride, at.centered + row * stride, at.centered + (row + 1) * stride);
      const feeds = { ...this.#weights, centered: this.#f32(at.g, [some.length, stride / 4]), k: new ort.Tensor("int64", BigInt64Array.of(BigInt(k)), [1]) };
      const top = await this.#some!.run(feeds);
      for (const [i, row] of some.entries()) {
        vals.set((top["vals"]!.data as Float32Array).subarray(i * k, (i + 1) * k), row * k);
        idx.set((top["idx"]!.data as Int32Array).subarray(i * k, (i + 1) * k), row * k);
      }
    }
    // Beyond its columns a row of g is zero, and its gradients rely on that; the encoder's input has a 1 there.
    for (let i = 0; i < Math.min(rows.length, mostRowsAtOnce); i++) bytes.fill(0, at.g + i * stride + width, at.g + (i + 1) * stride);
  }

  /**
   * Fills auxVals [batch, k] with the largest pre-activations among the first `deadCount` latents of the list `dead`, of either
   * sign. Their latents are in auxSource, or, when all of the dead fit, the list itself for every row.
   */
  async encodeDead(deadCount: number): Promise<{ readonly source: number; readonly sourceRow: number }> {
    const { at, batch, kAux } = this.#layout;
    const k = Math.min(kAux, deadCount);
    const feeds = { ...this.#weights, dead: this.#i32(at.dead, [deadCount]) };
    const vals = this.#f32(at.auxVals, [batch, k]);
    if (deadCount <= kAux) {
      await this.#auxAll!.run(feeds, { vals });
      return { source: at.dead, sourceRow: 0 };
    }
    await this.#auxTop!.run(feeds, { vals, idx: this.#i32(at.auxSource, [batch, k]) });
    return { source: at.auxSource, sourceRow: k * 4 };
  }

  async close(): Promise<void> {
    await this.#main.release();
    await this.#some?.release();
    await this.#auxTop?.release();
    await this.#auxAll?.release();
  }

  #f32(offset: number, dims: readonly number[]): ort.Tensor {
    return new ort.Tensor("float32", new Float32Array(this.#buffer, offset, product(dims)), dims);
  }

  #i32(offset: number, dims: readonly number[]): ort.Tensor {
    return new ort.Tensor("int32", new Int32Array(this.#buffer, offset, product(dims)), dims);
  }
}

/** Rows that are encoded by themselves in one go. */
const mostRowsAtOnce = 256;

/*
 * Encoder rows hold their bias in one column more, against a 1 in the input: onnxruntime spreads a bias of Gemm over the
 * output on a single thread, which costs a tenth to a third of the whole multiplication.
 */
function mainGraph({ batch, h, stride, signed }: TrainerLayout): Graph {
  const graph = new Graph("encode");
  const w = graph.input("w_enc", "float32", [h, stride / 4]);
  const k = graph.input("k", "int64", [1]);
  const parts = split(graph, graph.input("centered", "float32", [batch, stride / 4]), batch).map((rows) => largest(graph, graph.op("Gemm", [rows, w], { transB: 1 }), k, signed));
  graph.output("vals", "float32", [batch, "k"], joined(graph, parts.map(([vals]) => vals!)));
  graph.output("idx", "int32", [batch, "k"], graph.op("Cast", [joined(graph, parts.map(([, idx]) => idx!))], { to: 6 }));
  return graph;
}

function someRowsGraph({ h, stride }: TrainerLayout): Graph {
  const graph = new Graph("encode_rows");
  const w = graph.input("w_enc", "float32", [h, stride / 4]);
  const pre = graph.op("Gemm", [graph.input("centered", "float32", ["rows", stride / 4]), w], { transB: 1 });
  const [vals, idx] = graph.opN("TopK", [pre, graph.input("k", "int64", [1])], 2, { axis: -1, largest: 1, sorted: 0 });
  graph.output("vals", "float32", ["rows", "k"], vals!);
  graph.output("idx", "int32", ["rows", "k"], graph.op("Cast", [idx!], { to: 6 }));
  return graph;
}

function auxGraph({ batch, h, kAux, stride, signed }: TrainerLayout, select: boolean): Graph {
  const graph = new Graph(select ? "encode_top_dead" : "encode_all_dead");
  const w = graph.input("w_enc", "float32", [h, stride / 4]);
  const centered = graph.input("centered", "float32", [batch, stride / 4]);
  const dead = graph.input("dead", "int32", ["n_dead"]);
  const rows = graph.op("Gather", [w, dead], { axis: 0 });
  if (!select) {
    graph.output("vals", "float32", [batch, "n_dead"], graph.op("Gemm", [centered, rows], { transB: 1 }));
    return graph;
  }
  const parts = split(graph, centered, batch).map((part) => largest(graph, graph.op("Gemm", [part, rows], { transB: 1 }), graph.int64(kAux), signed));
  graph.output("vals", "float32", [batch, kAux], joined(graph, parts.map(([vals]) => vals!)));
  graph.output("idx", "int32", [batch, kAux], graph.op("Gather", [dead, joined(graph, parts.map(([, idx]) => idx!))], { axis: 0 }));
  return graph;
}

/** The k largest of every row, by their size alone when they keep their sign: values and places. */
function largest(graph: Graph, pre: string, k: string, signed: boolean): readonly string[] {
  const top = (values: string): string[] => graph.opN("TopK", [values, k], 2, { axis: -1, largest: 1, sorted: 0 });
  if (!signed) return top(pre);
  const places = top(graph.op("Abs", [pre]))[1]!;
  return [graph.op("GatherElements", [pre, places], { axis: -1 }), places];
}

function split(graph: Graph, rows: string, batch: number): string[] {
  const chunks = chunkCount(batch);
  return chunks === 1 ? [rows] : graph.opN("Split", [rows], chunks, { axis: 0, num_outputs: chunks });
}

function joined(graph: Graph, parts: readonly string[]): string {
  return parts.length === 1 ? parts[0]! : graph.op("Concat", parts, { axis: 0 });
}

function product(dims: readonly number[]): number {
  return dims.reduce((sum, size) => sum * size, 1);
}

import { Graph, type NodeAttributes } from "@mistral-sae/model";
import * as ort from "onnxruntime-node";
import { sessionOptions } from "../session-options.ts";
import type { TrainerLayout } from "./layout.ts";

/** Latents [first, end). */
export interface Tile {
  readonly first: number;
  readonly end: number;
}

/**
 * The dense products of penalised architectures, a tile of latents at a time: every operand is a matrix by latent or by row as it
 * lies in memory, and what onnxruntime copies beside its result stays small.
 */
export class PenalisedProducts {
  readonly tiles: readonly Tile[];
  readonly #layout: TrainerLayout;
  readonly #buffer: ArrayBufferLike;
  /** A·Bᵀ, A·B and Aᵀ·B. */
  readonly #byRows: ort.InferenceSession;
  readonly #plain: ort.InferenceSession;
  readonly #byColumns: ort.InferenceSession;

  private constructor(layout: TrainerLayout, buffer: ArrayBufferLike, byRows: ort.InferenceSession, plain: ort.InferenceSession, byColumns: ort.InferenceSession) {
    const { h, tile } = layout;
    this.#layout = layout;
    this.#buffer = buffer;
    this.#byRows = byRows;
    this.#plain = plain;
    this.#byColumns = byColumns;
    this.tiles = Array.from({ length: Math.ceil(h / tile) }, (_, t) => ({ first: t * tile, end: Math.min(h, (t + 1) * tile) }));
  }

  static async create(layout: TrainerLayout, memory: WebAssembly.Memory): Promise<PenalisedProducts> {
    const session = (graph: Graph): Promise<ort.InferenceSession> => ort.InferenceSession.create(graph.modelBytes(), sessionOptions(layout.threads));
    const byRows = await session(product("by_rows", ["m", "k"], ["n", "k"], { transB: 1 }));
    const plain = await session(product("plain", ["m", "k"], ["k", "n"], {}));
    const byColumns = await session(product("by_columns", ["k", "m"], ["k", "n"], { transA: 1 }));
    return new PenalisedProducts(layout, memory.buffer, byRows, plain, byColumns);
  }

  /** pre [h, batch] = wEnc·centeredᵀ: by latent, not by row. */
  async encode(): Promise<void> {
    const { at, batch } = this.#layout;
    for (const tile of this.tiles) await this.#run(this.#byRows, this.#weights(at.wEnc, tile), this.#rows(at.centered, 1), this.#codes(at.pre + tile.first * batch * 4, tile, 1));
  }

  /** partial = codesᵀ·wDec of a tile. */
  async decode(tile: Tile): Promise<void> {
    const { at } = this.#layout;
    await this.#run(this.#byColumns, this.#codes(at.codes, tile), this.#weights(at.wDec, tile), this.#rows(at.partial));
  }

  /** slopes = wDec·gᵀ of a tile. */
  async slopes(tile: Tile): Promise<void> {
    const { at } = this.#layout;
    await this.#run(this.#byRows, this.#weights(at.wDec, tile), this.#rows(at.g), this.#codes(at.slopes, tile));
  }

  /** gDec = codes·g and gEnc = pre·centered of a tile, where pre holds its own gradients. */
  async gradients(tile: Tile): Promise<void> {
    const { at, batch } = this.#layout;
    await this.#run(this.#plain, this.#codes(at.codes, tile), this.#rows(at.g), this.#weights(at.gDec, tile));
    await this.#run(this.#plain, this.#codes(at.pre + tile.first * batch * 4, tile, 1), this.#rows(at.centered, 1), this.#weights(at.gEnc, tile));
  }

  async close(): Promise<void> {
    for (const session of [this.#byRows, this.#plain, this.#byColumns]) await session.release();
  }

  async #run(session: ort.InferenceSession, a: ort.Tensor, b: ort.Tensor, out: ort.Tensor): Promise<void> {
    await session.run({ a, b }, { out });
  }

  #weights(offset: number, { first, end }: Tile): ort.Tensor {
    const { stride } = this.#layout;
    return this.#tensor(offset + first * stride, [end - first, stride / 4]);
  }

  /** Rows of the batch; those of a gated SAE's two reconstructions lie one after the other. */
  #rows(offset: number, times = this.#codesARow()): ort.Tensor {
    const { batch, stride } = this.#layout;
    return this.#tensor(offset, [batch * times, stride / 4]);
  }

  #codes(offset: number, { first, end }: Tile, times = this.#codesARow()): ort.Tensor {
    return this.#tensor(offset, [end - first, this.#layout.batch * times]);
  }

  #codesARow(): number {
    return this.#layout.penalised!.gated ? 2 : 1;
  }

  #tensor(offset: number, dims: readonly [number, number]): ort.Tensor {
    return new ort.Tensor("float32", new Float32Array(this.#buffer, offset, dims[0] * dims[1]), dims);
  }
}

function product(name: string, a: readonly string[], b: readonly string[], attributes: NodeAttributes): Graph {
  const graph = new Graph(name);
  graph.output("out", "float32", ["m", "n"], graph.op("Gemm", [graph.input("a", "float32", a), graph.input("b", "float32", b)], attributes));
  return graph;
}

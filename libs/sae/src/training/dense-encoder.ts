import { Graph } from "@mistral-sae/model";
import * as ort from "onnxruntime-node";
import { sessionOptions } from "../session-options.ts";
import type { TrainerLayout } from "./layout.ts";

/**
 * All pre-activations of a batch, W_enc·centered + b_enc, in the region `pre`. They lie there in tiles of neighbouring latents:
 * tile t has latents [t·tile, min(h, (t + 1)·tile)) and starts at pre + t·tile·batch·4, as one row-major matrix [batch, latents].
 * onnxruntime also returns a copy of what it writes, so that a tile is also what is copied at once.
 */
export class DenseEncoder {
  readonly #session: ort.InferenceSession;
  readonly #tiles: readonly (readonly [ort.InferenceSession.FeedsType, ort.InferenceSession.FetchesType])[];

  private constructor(session: ort.InferenceSession, { at, batch, h, tile, stride }: TrainerLayout, buffer: ArrayBufferLike) {
    this.#session = session;
    const tensor = (offset: number, rows: number, columns: number): ort.Tensor => new ort.Tensor("float32", new Float32Array(buffer, offset, rows * columns), [rows, columns]);
    const centered = tensor(at.centered, batch, stride / 4);
    this.#tiles = Array.from({ length: Math.ceil(h / tile) }, (_, t) => {
      const latents = Math.min(tile, h - t * tile);
      return [{ centered, w_enc: tensor(at.wEnc + t * tile * stride, latents, stride / 4) }, { pre: tensor(at.pre + t * tile * batch * 4, batch, latents) }];
    });
  }

  static async create(layout: TrainerLayout, memory: WebAssembly.Memory): Promise<DenseEncoder> {
    return new DenseEncoder(await ort.InferenceSession.create(tileGraph(layout).modelBytes(), sessionOptions(layout.threads)), layout, memory.buffer);
  }

  get tiles(): number {
    return this.#tiles.length;
  }

  /** Computes one tile. */
  async encodeTile(tile: number): Promise<void> {
    const [feeds, fetches] = this.#tiles[tile]!;
    const { pre } = await this.#session.run(feeds, fetches);
    // The copy that onnxruntime returns is given back at once: waiting for the collector costs more.
    (pre!.data as Float32Array<ArrayBuffer>).buffer.transfer(0);
  }

  /** Computes all tiles. */
  async encode(): Promise<void> {
    for (let tile = 0; tile < this.#tiles.length; tile++) await this.encodeTile(tile);
  }

  async close(): Promise<void> {
    await this.#session.release();
  }
}

function tileGraph({ batch, stride }: TrainerLayout): Graph {
  const graph = new Graph("encode_tile");
  const centered = graph.input("centered", "float32", [batch, stride / 4]);
  const w = graph.input("w_enc", "float32", ["latents", stride / 4]);
  graph.output("pre", "float32", [batch, "latents"], graph.op("Gemm", [centered, w], { transB: 1 }));
  return graph;
}

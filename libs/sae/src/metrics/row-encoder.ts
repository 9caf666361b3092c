import { activationOf, type ActivationFn, type Fired } from "../codec/activate.ts";
import { CodeBuilder } from "../codec/code-builder.ts";
import { type EncodedRows, SaeCodec } from "../codec/codec.ts";
import { newRowStats } from "../codec/normalize.ts";
import { isTranscoder } from "../formats/config.ts";
import { decoderNorms, type SaeWeights } from "../formats/weights.ts";
import { MatrixProduct } from "./matrix-product.ts";

/** Pre-activations of one run at most, bytes. */
const PRE_ACTIVATION_BYTES = 64 << 20;

/**
 * Encodes many rows with an SAE of any architecture: the dense half runs on onnxruntime in f32, the activation is the exact one of
 * {@link SaeCodec}. Not for concurrent use.
 */
export class RowEncoder {
  readonly codec: SaeCodec;
  readonly #product: MatrixProduct;
  readonly #activation: ActivationFn;
  readonly #fired: Fired;

  private constructor(sae: SaeWeights, product: MatrixProduct) {
    this.codec = new SaeCodec(sae);
    this.#product = product;
    this.#activation = activationOf(sae);
    this.#fired = { indices: new Uint32Array(this.#activation.capacity), values: new Float32Array(this.#activation.capacity) };
  }

  static async open(sae: SaeWeights, threads: number): Promise<RowEncoder> {
    return new RowEncoder(sae, await MatrixProduct.open(threads));
  }

  /** As {@link SaeCodec.encodeRows}. */
  async encode(x: Float32Array): Promise<EncodedRows> {
    const { sae } = this.codec;
    const { dIn, dSae, k, architecture } = sae.config;
    // It has no dense half: it looks at a row again after each feature.
    if (architecture === "matching_pursuit") return this.codec.encodeRows(x);
    const n = x.length / dIn;
    const prepared = new Float32Array(x.length);
    const inputStats = newRowStats(n);
    this.codec.prepare(x, prepared, inputStats);
    // A transcoder's output is not in the space of its input: its normalisation is not undone.
    const stats = isTranscoder(sae.config) ? newRowStats(n) : inputStats;
    const codes = new CodeBuilder(n, Math.min(this.#activation.capacity, 256));
    const most = Math.max(1, Math.floor(PRE_ACTIVATION_BYTES / (dSae * Float32Array.BYTES_PER_ELEMENT)));
    for (let start = 0; start < n; start += most) {
      const end = Math.min(n, start + most);
      const pre = await this.#product.run(prepared.subarray(start * dIn, end * dIn), sae.wEnc, sae.bEnc, dIn);
      for (let row = 0; row < end - start; row++) codes.append(this.#fired, this.#activation.apply(pre.subarray(row * dSae, (row + 1) * dSae), this.#fired));
    }
    return { nTokens: n, k: k ?? 0, dSae, stats: sae.wSkip === undefined ? stats : { ...stats, input: x }, ...codes.finish() };
  }

  /** [d_sae] length of what an activation of 1 adds to the reconstruction, in the SAE's normalised space. */
  directionLengths(): Float32Array {
    const norms = decoderNorms(this.codec.sae);
    return this.codec.sae.config.rescaleActsByDecoderNorm ? norms.fill(1) : norms;
  }

  /** [d_sae] factor of each decoder row in a reconstruction; undefined where all are 1. */
  directionScales(): Float32Array | undefined {
    const { sae } = this.codec;
    return sae.config.rescaleActsByDecoderNorm ? decoderNorms(sae).map((norm) => 1 / norm) : undefined;
  }

  async close(): Promise<void> {
    await this.#product.close();
  }
}

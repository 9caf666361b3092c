import { bf16FromF32, bytesOf } from "@mistral-sae/tensor";
import { Random } from "@mistral-sae/sae";

const quantiles = 1 << 16;
/** Values of one piece. */
const pieceValues = 1 << 20;

/**
 * Seeded normal weights, 16 random bits each: cheap enough to write seven thousand million of them. A value is one of
 * 65,536 quantiles of the distribution, so that a weight costs one look-up.
 */
export class RandomWeights {
  readonly #dtype: "F32" | "BF16";
  readonly #random: Random;
  readonly #tables = new Map<string, Float32Array | Uint16Array>();
  readonly #piece: Float32Array<ArrayBuffer> | Uint16Array<ArrayBuffer>;

  constructor(dtype: "F32" | "BF16", seed: number) {
    this.#dtype = dtype;
    this.#random = new Random(seed);
    this.#piece = dtype === "F32" ? new Float32Array(pieceValues) : new Uint16Array(pieceValues);
  }

  /** Bytes of `count` values, in pieces that hold until the next is asked for. */
  *pieces(count: number, mean: number, deviation: number): Generator<Uint8Array> {
    const table = this.#table(mean, deviation);
    for (let done = 0; done < count; done += pieceValues) {
      const piece = this.#piece.subarray(0, Math.min(pieceValues, count - done));
      // xorshift32, begun anew from the seeded stream for every piece.
      let state = this.#random.nextUint32() | 1;
      for (let i = 0; i < piece.length; i += 2) {
        state ^= state << 13;
        state ^= state >>> 17;
        state ^= state << 5;
        piece[i] = table[state & 0xffff]!;
        piece[i + 1] = table[state >>> 16]!;
      }
      yield bytesOf(piece);
    }
  }

  #table(mean: number, deviation: number): Float32Array | Uint16Array {
    const key = `${mean} ${deviation}`;
    let table = this.#tables.get(key);
    if (table === undefined) {
      const values = Float32Array.from({ length: quantiles }, (_, i) => mean + deviation * normalQuantile((i + 0.5) / quantiles));
      table = this.#dtype === "F32" ? values : bf16FromF32(values, new Uint16Array(quantiles));
      this.#tables.set(key, table);
    }
    return table;
  }
}

/** Inverse of the normal distribution function, to about 4.5e-4: Hastings' approximation (Abramowitz and Stegun 26.2.23). */
function normalQuantile(p: number): number {
  const t = Math.sqrt(-2 * Math.log(Math.min(p, 1 - p)));
  const tail = t - (2.515517 + t * (0.802853 + t * 0.010328)) / (1 + t * (1.432788 + t * (0.189269 + t * 0.001308)));
  return p < 0.5 ? -tail : tail;
}

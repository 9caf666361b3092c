import { createHash } from "node:crypto";

/**
 * Random numbers that are a function of a name alone (xoshiro128**, Blackman and Vigna 2018, seeded by the
 * name's SHA-256), so that any point of a run is reached without replaying what came before.
 */
export class Random {
  readonly #state: Uint32Array;

  constructor(name: string) {
    const digest = createHash("sha256").update(name, "utf8").digest();
    this.#state = Uint32Array.from({ length: 4 }, (_, word) => digest.readUInt32LE(word * 4));
  }

  /** Uniform in [0, 2^32). */
  next(): number {
    const s = this.#state;
    const [s0, s1, s2, s3] = s as unknown as [number, number, number, number];
    const result = Math.imul(rotate(Math.imul(s1, 5), 7), 9) >>> 0;
    const s2x = s2 ^ s0;
    const s3x = s3 ^ s1;
    s[1] = s1 ^ s2x;
    s[0] = s0 ^ s3x;
    s[2] = s2x ^ (s1 << 9);
    s[3] = rotate(s3x, 11);
    return result;
  }

  /** Uniform in [0, bound) from 53 bits: the bias is below bound / 2^53. */
  below(bound: number): number {
    const high = this.next() >>> 5;
    const low = this.next() >>> 6;
    return Math.floor(((high * 67_108_864 + low) / 9_007_199_254_740_992) * bound);
  }

  /** The numbers 0 to count - 1 in random order (Fisher-Yates: every order is as likely). */
  permutation(count: number): Uint32Array {
    const order = new Uint32Array(count);
    for (let at = 0; at < count; at += 1) order[at] = at;
    for (let at = count - 1; at > 0; at -= 1) {
      const other = this.below(at + 1);
      const held = order[at] ?? 0;
      order[at] = order[other] ?? 0;
      order[other] = held;
    }
    return order;
  }
}

function rotate(value: number, bits: number): number {
  return (value << bits) | (value >>> (32 - bits));
}

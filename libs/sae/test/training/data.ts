import { Random } from "../../src/training/random.ts";

/** Rows [n, d] that are sparse mixtures of twice as many directions as dimensions, around a mean. */
export function mixtureRows(n: number, d: number, seed: number): Float32Array {
  const random = new Random(seed);
  const directions = Float32Array.from({ length: 2 * d * d }, () => random.uniform(-1, 1));
  const mean = Float32Array.from({ length: d }, () => random.uniform(-2, 2));
  const rows = new Float32Array(n * d);
  for (let row = 0; row < n; row++) {
    for (let part = 0; part < 5; part++) {
      const direction = random.nextUint32() % (2 * d);
      const size = random.uniform(0.5, 2);
      for (let i = 0; i < d; i++) rows[row * d + i]! += size * directions[direction * d + i]!;
    }
    for (let i = 0; i < d; i++) rows[row * d + i]! += mean[i]! + random.uniform(-0.05, 0.05);
  }
  return rows;
}

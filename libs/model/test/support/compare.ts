import type { Engine, ForwardOptions, Sequence } from "../../src/engine.ts";

/** Largest difference over the largest wanted magnitude. */
export function relativeDifference(got: ArrayLike<number>, wanted: ArrayLike<number>): number {
  if (got.length !== wanted.length) throw new Error(`${got.length} values, wanted ${wanted.length}`);
  let difference = 0;
  let size = 0;
  for (let i = 0; i < wanted.length; i++) {
    const gap = Math.abs(got[i]! - wanted[i]!);
    if (Number.isNaN(gap)) return Number.NaN;
    difference = Math.max(difference, gap);
    size = Math.max(size, Math.abs(wanted[i]!));
  }
  return size === 0 ? difference : difference / size;
}

/** Everything that an async iterable gives. */
export async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

/** Residuals [sequence][tap] of sequences, in their order. */
export async function residuals(engine: Engine, sequences: readonly Sequence[], options: ForwardOptions): Promise<Float32Array[][]> {
  const { dModel } = engine.info;
  const found: Float32Array[][] = sequences.map(() => []);
  for await (const batch of engine.forward(sequences, options)) {
    for (const [i, sequence] of batch.sequences.entries()) {
      found[sequence] = batch.residuals.map((rows) => rows.slice(batch.offsets[i]! * dModel, batch.offsets[i + 1]! * dModel));
    }
  }
  return found;
}

/** Token ids of a sequence of `length` below `dVocab`, the same for the same seed. */
export function tokensOf(length: number, dVocab: number, seed = 1): Uint32Array {
  let state = seed;
  return Uint32Array.from({ length }, () => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return (state >>> 8) % dVocab;
  });
}

import type { KernelTeam } from "./kernel-team.ts";
import { Arg } from "./phase-args.ts";
import { histogramBytes } from "./tiles.ts";
import type { TrainerMemory } from "./trainer-memory.ts";

/** Share of a step's smallest kept value above which the next step first looks for its own: about half as many values again pass. */
const guessShare = 0.93;
const highBuckets = 1 << 15;
const lowBuckets = histogramBytes / 4;
/** The least positive f32. */
const leastPositive = 2 ** -149;

/**
 * The n largest positive pre-activations of a whole batch, exactly; of equal ones those of the lowest row, then of the lowest latent.
 *
 * Values above a guess from the step before are taken into rows, and the smallest to be kept is found among them. Where the guess
 * was too high, or far too low, histograms of the upper and then the lower half of all values' bits give that value itself. The
 * result does not depend on the guess.
 */
export class BatchSelector {
  readonly #memory: TrainerMemory;
  readonly #team: KernelTeam;
  #guess = 0;

  constructor(memory: TrainerMemory, team: KernelTeam) {
    this.#memory = memory;
    this.#team = team;
  }

  /** Fills vals, idx and bounds from `pre`; returns the smallest kept value, or undefined when none is positive. */
  select(wanted: number): number | undefined {
    const { capacity } = this.#memory.layout;
    if (this.#guess > 0) {
      const found = this.#count(this.#guess);
      if (found >= wanted && found <= capacity) return this.#trim(wanted, found);
    }
    const smallest = this.#smallest(wanted, (high) => this.#histogramOfAll(high));
    if (smallest === undefined) {
      this.#boundRows(new Uint32Array(this.#memory.layout.batch));
      return undefined;
    }
    this.#guess = smallest.value * guessShare;
    this.#collectExactly(smallest);
    return smallest.value;
  }

  /** Takes the values that were counted into rows and keeps the largest. */
  #trim(wanted: number, found: number): number | undefined {
    const { args, kernels } = this.#team;
    const { at, batch } = this.#memory.layout;
    args[Arg.ties] = 0;
    this.#boundRows(this.#counts());
    this.#team.run("collectAbove");
    const smallest = this.#smallest(wanted, (high) => {
      const buckets = this.#buckets(0).fill(0);
      kernels.histogram(at.vals, found, high, at.histograms);
      return buckets;
    })!;
    kernels.trimRows(at.vals, at.idx, at.bounds, smallest.value, smallest.ties, batch);
    this.#guess = smallest.value * guessShare;
    return smallest.value;
  }

  /** Takes the values above the smallest, and as many that equal it as are left, row after row. */
  #collectExactly({ value, ties }: Smallest): void {
    const { layout, buffer } = this.#memory;
    this.#count(nextAbove(value));
    const above = this.#counts().slice();
    this.#count(value);
    const limits = new Uint32Array(buffer, layout.at.ties, layout.batch);
    let left = ties;
    const counts = this.#counts();
    for (let b = 0; b < layout.batch; b++) {
      limits[b] = Math.min(left, counts[b]! - above[b]!);
      left -= limits[b]!;
      above[b]! += limits[b]!;
    }
    this.#boundRows(above);
    this.#team.args[Arg.ties] = layout.at.ties;
    this.#team.run("collectAbove");
  }

  /** The smallest of the `wanted` largest values: the bucket of its upper bits first, then of its lower ones. */
  #smallest(wanted: number, histogram: (high: number) => Uint32Array): Smallest | undefined {
    const upper = histogram(-1);
    let positive = 0;
    for (let i = 0; i < highBuckets; i++) positive += upper[i]!;
    if (positive === 0) return undefined;
    let left = Math.min(wanted, positive);
    let high = highBuckets - 1;
    for (; left > upper[high]!; high--) left -= upper[high]!;
    const lower = histogram(high);
    let low = lowBuckets - 1;
    for (; left > lower[low]!; low--) left -= lower[low]!;
    return { value: new Float32Array(Uint32Array.of(high * lowBuckets + low).buffer)[0]!, ties: left };
  }

  #histogramOfAll(high: number): Uint32Array {
    const { threads } = this.#memory.layout;
    this.#team.args[Arg.high] = high;
    this.#team.run("histogramRows");
    const sum = this.#buckets(0);
    for (let thread = 1; thread < threads; thread++) {
      const more = this.#buckets(thread);
      for (let i = 0; i < sum.length; i++) sum[i]! += more[i]!;
    }
    return sum;
  }

  #buckets(thread: number): Uint32Array {
    return new Uint32Array(this.#memory.buffer, this.#memory.layout.at.histograms + thread * histogramBytes, lowBuckets);
  }

  #count(bound: number): number {
    this.#team.args[Arg.bound] = Math.max(bound, leastPositive);
    return this.#team.run("countAbove");
  }

  #counts(): Uint32Array {
    return new Uint32Array(this.#memory.buffer, this.#memory.layout.at.rowCounts, this.#memory.layout.batch);
  }

  /** Gives every row its place behind the one before it. */
  #boundRows(counts: Uint32Array): void {
    const bounds = new Uint32Array(this.#memory.buffer, this.#memory.layout.at.bounds, counts.length * 2);
    let at = 0;
    counts.forEach((count, b) => {
      bounds[2 * b] = at;
      at += count;
      bounds[2 * b + 1] = at;
    });
  }
}

/** The smallest value to keep, and how many values equal to it are kept. */
interface Smallest {
  readonly value: number;
  readonly ties: number;
}

/** The next larger f32 of a positive one. */
function nextAbove(value: number): number {
  const bits = new Uint32Array(Float32Array.of(value).buffer);
  bits[0]! += 1;
  return new Float32Array(bits.buffer)[0]!;
}

/** bfloat16 bits → number. Positive ones order as their bits do. */
export const BF16: Float32Array = (() => {
  const bits = new Uint32Array(65_536);
  for (let i = 0; i < bits.length; i++) bits[i] = i << 16;
  return new Float32Array(bits.buffer);
})();

const POSITIVE = 0x8000;

/** How often each activation occurs. Activations are positive bfloat16 numbers, given by their bits. */
export class ValueCounts {
  readonly #counts = new Uint32Array(POSITIVE);
  readonly #seen = new Uint16Array(POSITIVE);
  #nSeen = 0;
  #sorted = true;

  add(bits: number): void {
    if (this.#counts[bits] === 0) {
      this.#seen[this.#nSeen++] = bits;
      this.#sorted = false;
    }
    this.#counts[bits]! += 1;
  }

  count(bits: number): number {
    return this.#counts[bits] as number;
  }

  /** The bits that occurred, largest first; valid until the next call that adds. */
  descending(): Uint16Array {
    const seen = this.#seen.subarray(0, this.#nSeen);
    if (!this.#sorted) seen.sort().reverse();
    this.#sorted = true;
    return seen;
  }

  clear(): void {
    for (let i = 0; i < this.#nSeen; i++) this.#counts[this.#seen[i] as number] = 0;
    this.#nSeen = 0;
    this.#sorted = true;
  }
}

/** Counts in log-spaced bins, four an octave, by the upper 11 bits; empty ones left out, ascending. */
export function logHistogram(values: ValueCounts): { readonly bins: number[]; readonly counts: number[] } {
  const bins: number[] = [];
  const counts: number[] = [];
  for (const bits of values.descending().toReversed()) {
    const bin = bits >> LOG_BIN_SHIFT;
    if (bins.at(-1) !== bin) {
      bins.push(bin);
      counts.push(0);
    }
    counts[counts.length - 1]! += values.count(bits);
  }
  return { bins, counts };
}

export const LOG_BIN_SHIFT = 5;

/** Lower edge of a log bin; the upper one is that of the next. */
export function logBinEdge(bin: number): number {
  return BF16[bin << LOG_BIN_SHIFT] as number;
}

/** Counts in `nBins` even bins over [0, max]; the largest value falls into the last. */
export function linearHistogram(values: ValueCounts, nBins: number): number[] {
  const counts = Array.from({ length: nBins }, () => 0);
  const descending = values.descending();
  const max = BF16[descending[0] ?? 0] as number;
  for (const bits of descending) counts[linearBin(BF16[bits] as number, max, nBins)]! += values.count(bits);
  return counts;
}

export function linearBin(value: number, max: number, nBins: number): number {
  return Math.min(nBins - 1, Math.floor((value / max) * nBins));
}

/** Equally many firings, strongest first. */
export interface Stratum {
  readonly n: number;
  readonly min: number;
  readonly max: number;
  /** Firings to show: the value, and which of its occurrences in order of position. */
  readonly picks: readonly { readonly bits: number; readonly occurrence: number }[];
}

/**
 * Cuts the firings, ranked by falling activation and then by position, into `nStrata` of equal number, and picks
 * `nPicks` evenly spaced ranks of each. Strata of fewer firings give fewer picks, those of none are left out.
 */
export function strata(values: ValueCounts, total: number, nStrata: number, nPicks: number): Stratum[] {
  const descending = values.descending();
  const found: Stratum[] = [];
  let value = 0;
  let before = 0;
  // Ranks are asked for in rising order, so one walk over the values finds them all.
  const at = (rank: number) => {
    while (before + values.count(descending[value] as number) <= rank) before += values.count(descending[value++] as number);
    return { bits: descending[value] as number, occurrence: rank - before };
  };
  for (let s = 0; s < nStrata; s++) {
    const start = Math.floor((s * total) / nStrata);
    const end = Math.floor(((s + 1) * total) / nStrata);
    if (end === start) continue;
    const max = BF16[at(start).bits] as number;
    const ranks = new Set(Array.from({ length: nPicks }, (_, i) => start + Math.floor(((i + 0.5) * (end - start)) / nPicks)));
    const picks = [...ranks].map(at);
    found.push({ n: end - start, max, min: BF16[at(end - 1).bits] as number, picks });
  }
  return found;
}

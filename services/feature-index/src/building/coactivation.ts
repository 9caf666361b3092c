/** Codes of sampled tokens: token i fires `features[ends[i - 1]]` up to `features[ends[i]]`. */
export interface SampledCodes {
  readonly ends: Uint32Array;
  readonly features: Uint32Array;
}

/** How often a feature fires, and with which others. */
export interface Coactivations {
  readonly n: number;
  readonly others: readonly number[];
  readonly othersN: readonly number[];
  readonly together: readonly number[];
}

/** Counts of tokens: on all of them, on which a fires, b fires, and both do. */
export interface PairCounts {
  readonly total: number;
  readonly a: number;
  readonly b: number;
  readonly both: number;
}

/** Measures of firing together, larger for more. */
export const MEASURES = {
  jaccard: ({ a, b, both }: PairCounts) => both / (a + b - both),
  /** Pearson correlation of firing or not; 0 where one of them always fires. */
  phi: ({ total, a, b, both }: PairCounts) => {
    const spread = Math.sqrt(a * b * (total - a) * (total - b));
    return spread === 0 ? 0 : (total * both - a * b) / spread;
  },
  /** Pointwise mutual information, in nats. */
  pmi: ({ total, a, b, both }: PairCounts) => Math.log((total * both) / (a * b)),
} as const;

export type Measure = keyof typeof MEASURES;

export const coactivationLimits = { aMeasure: 10, leastTogether: 2 } as const;

/** Finds what fires together with each feature, exactly over the sampled tokens. */
export class CoactivationCounter {
  readonly #codes: SampledCodes;
  /** Tokens of each feature, feature after feature. */
  readonly #tokens: Uint32Array;
  readonly #ends: Uint32Array;
  readonly #together: Uint32Array;

  constructor(codes: SampledCodes, dSae: number) {
    this.#codes = codes;
    const ends = new Uint32Array(dSae + 1);
    for (const feature of codes.features) ends[feature + 1]! += 1;
    for (let feature = 0; feature < dSae; feature++) ends[feature + 1]! += ends[feature] as number;
    this.#tokens = new Uint32Array(codes.features.length);
    let pair = 0;
    for (const [token, end] of codes.ends.entries()) {
      // A feature's start moves to its end while its tokens are filled in.
      for (; pair < end; pair++) this.#tokens[ends[codes.features[pair] as number]!++] = token;
    }
    this.#ends = ends;
    this.#together = new Uint32Array(dSae);
  }

  /** Sampled tokens. */
  get nTokens(): number {
    return this.#codes.ends.length;
  }

  /** The strongest by each measure, all together, by index. */
  of(feature: number): Coactivations {
    const start = feature === 0 ? 0 : (this.#ends[feature - 1] as number);
    const end = this.#ends[feature] as number;
    const together = this.#together;
    const seen: number[] = [];
    for (let i = start; i < end; i++) {
      const token = this.#tokens[i] as number;
      const from = token === 0 ? 0 : (this.#codes.ends[token - 1] as number);
      for (let pair = from; pair < (this.#codes.ends[token] as number); pair++) {
        const other = this.#codes.features[pair] as number;
        if (other === feature) continue;
        if (together[other] === 0) seen.push(other);
        together[other]! += 1;
      }
    }
    const n = end - start;
    const candidates = seen.map((other) => ({ other, counts: { total: this.nTokens, a: n, b: this.#count(other), both: together[other] as number } }));
    for (const other of seen) together[other] = 0;
    const enough = candidates.filter(({ counts }) => counts.both >= coactivationLimits.leastTogether);
    const kept = new Map<number, PairCounts>();
    for (const measure of Object.values(MEASURES)) {
      const scored = enough.map(({ other, counts }) => ({ other, counts, value: measure(counts) }));
      scored.sort((x, y) => y.value - x.value || x.other - y.other);
      for (const { other, counts } of scored.slice(0, coactivationLimits.aMeasure)) kept.set(other, counts);
    }
    const rows = [...kept].sort(([x], [y]) => x - y);
    return { n, others: rows.map(([other]) => other), othersN: rows.map(([, { b }]) => b), together: rows.map(([, { both }]) => both) };
  }

  #count(feature: number): number {
    return (this.#ends[feature] as number) - (feature === 0 ? 0 : (this.#ends[feature - 1] as number));
  }
}

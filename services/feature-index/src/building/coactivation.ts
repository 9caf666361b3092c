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

/** The largest by one measure; of equals those of lower index. */
class Best {
  readonly #values = new Float64Array(coactivationLimits.aMeasure);
  readonly #others = new Uint32Array(coactivationLimits.aMeasure);
  #length = 0;
  /** What one more must reach. */
  #bar = -Infinity;

  offer(other: number, value: number): void {
    if (value < this.#bar) return;
    const values = this.#values;
    const others = this.#others;
    let at = values.length - 1;
    if (this.#length < values.length) at = this.#length++;
    else if (value === this.#bar && other > (others[at] as number)) return;
    for (; at > 0; at--) {
      const before = values[at - 1] as number;
      if (before > value || (before === value && (others[at - 1] as number) < other)) break;
      values[at] = before;
      others[at] = others[at - 1] as number;
    }
    values[at] = value;
    others[at] = other;
    if (this.#length === values.length) this.#bar = values[values.length - 1] as number;
  }

  /** What was kept; ready for the next feature afterwards. */
  take(): Uint32Array {
    const kept = this.#others.subarray(0, this.#length);
    this.#length = 0;
    this.#bar = -Infinity;
    return kept;
  }
}

/** Finds what fires together with each feature, exactly over the sampled tokens. */
export class CoactivationCounter {
  readonly #codes: SampledCodes;
  /** Tokens of each feature, feature after feature. */
  readonly #tokens: Uint32Array;
  readonly #ends: Uint32Array;
  readonly #counts: Uint32Array;
  /** sqrt(n (total - n)) of each feature. */
  readonly #spreads: Float64Array;
  readonly #together: Uint32Array;
  readonly #seen: Uint32Array;
  readonly #jaccard = new Best();
  readonly #phi = new Best();
  readonly #pmi = new Best();

  constructor(codes: SampledCodes, dSae: number) {
    this.#codes = codes;
    const ends = new Uint32Array(dSae + 1);
    for (const feature of codes.features) ends[feature + 1]! += 1;
    this.#counts = ends.slice(1);
    this.#spreads = Float64Array.from(this.#counts, (n) => Math.sqrt(n * (codes.ends.length - n)));
    for (let feature = 0; feature < dSae; feature++) ends[feature + 1]! += ends[feature] as number;
    this.#tokens = new Uint32Array(codes.features.length);
    let pair = 0;
    for (const [token, end] of codes.ends.entries()) {
      // A feature's start moves to its end while its tokens are filled in.
      for (; pair < end; pair++) this.#tokens[ends[codes.features[pair] as number]!++] = token;
    }
    this.#ends = ends;
    this.#together = new Uint32Array(dSae);
    this.#seen = new Uint32Array(dSae);
  }

  /** Sampled tokens. */
  get nTokens(): number {
    return this.#codes.ends.length;
  }

  /** The strongest by each measure, all together, by index. */
  of(feature: number): Coactivations {
    const end = this.#ends[feature] as number;
    const n = this.#counts[feature] as number;
    const seen = this.#count(feature, end - n, end);
    this.#rank(n, seen);
    const kept = new Set([this.#jaccard, this.#phi, this.#pmi].flatMap((best) => [...best.take()]));
    const others = [...kept].sort((x, y) => x - y);
    const found = { n, others, othersN: others.map((other) => this.#counts[other] as number), together: others.map((other) => this.#together[other] as number) };
    for (const other of seen) this.#together[other] = 0;
    return found;
  }

  /** Counts on how many of the feature's tokens each other one fires; returns those that do. */
  #count(feature: number, start: number, end: number): Uint32Array {
    const { ends, features } = this.#codes;
    const together = this.#together;
    const seen = this.#seen;
    let nSeen = 0;
    for (let i = start; i < end; i++) {
      const token = this.#tokens[i] as number;
      const to = ends[token] as number;
      for (let pair = token === 0 ? 0 : (ends[token - 1] as number); pair < to; pair++) {
        const other = features[pair] as number;
        if (together[other]!++ === 0) seen[nSeen++] = other;
      }
    }
    together[feature] = 0;
    return seen.subarray(0, nSeen);
  }

  /** Offers those that fire together often enough to each measure, by what grows with it as long as the feature is the same. */
  #rank(n: number, seen: Uint32Array): void {
    const together = this.#together;
    const total = this.nTokens;
    for (let i = 0; i < seen.length; i++) {
      const other = seen[i] as number;
      const both = together[other] as number;
      if (both < coactivationLimits.leastTogether) continue;
      const b = this.#counts[other] as number;
      const spread = this.#spreads[other] as number;
      this.#jaccard.offer(other, both / (n + b - both));
      this.#phi.offer(other, spread === 0 || n === total ? 0 : (total * both - n * b) / spread);
      this.#pmi.offer(other, both / b);
    }
  }
}

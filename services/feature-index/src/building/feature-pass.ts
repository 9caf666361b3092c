import type { CorpusView } from "./corpus-view.ts";
import { type Firing, TopDocuments } from "./top-documents.ts";
import { BF16, linearHistogram, logHistogram, type Stratum, strata, ValueCounts } from "./value-counts.ts";

/** Tokens, and the feature's firings on each. */
export interface TokenFirings {
  readonly ids: Uint32Array;
  readonly n: Uint32Array;
  readonly sums: Float32Array;
}

/** A source of documents and the feature's firings in them. */
export interface SourceFirings {
  readonly source: string;
  readonly n: number;
}

/** Statistics of one feature, and the firings that it is to be shown by. */
export interface FeatureSummary {
  readonly nFirings: number;
  readonly max: number;
  readonly sum: number;
  readonly logBins: readonly number[];
  readonly logCounts: readonly number[];
  readonly linearCounts: readonly number[];
  readonly strata: readonly Stratum[];
  /** The strongest firing of each of the documents where it fires strongest. */
  readonly top: readonly Firing[];
  /** By summed activation, then by id. */
  readonly topTokens: TokenFirings;
  /** Firings in the blocks whose tokens are known. */
  readonly nSampled: number;
  /** Firings by the position of their token in the window, in `positionBins` even bins; empty where it never fired. */
  readonly positionCounts: Uint32Array;
  /** The most first, then by name. */
  readonly sources: readonly SourceFirings[];
}

/** How much is kept of a feature. */
export const featureLimits = { topExamples: 20, strata: 5, picksPerStratum: 5, topTokens: 100, linearBins: 40, positionBins: 32 } as const;

/** Even bins of the positions of a window: one a position in short windows. */
export function positionBins(contextSize: number): number {
  return Math.min(contextSize, featureLimits.positionBins);
}

/** Reads the posting lists of one feature after another and sums them up. */
export class FeaturePass {
  readonly #view: CorpusView;
  readonly #sequenceOf: Uint16Array;
  readonly #values = new ValueCounts();
  readonly #top = new TopDocuments(featureLimits.topExamples);
  readonly #tokenCounts: Uint32Array;
  readonly #tokenSums: Float64Array;
  readonly #tokensSeen: number[] = [];
  readonly #bestTokens = new Uint32Array(featureLimits.topTokens);
  readonly #sourceCounts: Float64Array;
  /** Bin of each position of a block. */
  readonly #binOf: Uint8Array;
  readonly #positionCounts: Uint32Array;
  #n = 0;
  #nSampled = 0;
  #sum = 0;

  constructor(view: CorpusView) {
    this.#view = view;
    this.#sequenceOf = Uint16Array.from({ length: view.blockSequences * view.contextSize }, (_, pos) => Math.floor(pos / view.contextSize));
    this.#tokenCounts = new Uint32Array(view.dVocab);
    this.#tokenSums = new Float64Array(view.dVocab);
    this.#sourceCounts = new Float64Array(view.sources.length);
    const nBins = positionBins(view.contextSize);
    this.#binOf = Uint8Array.from(this.#sequenceOf, (_, pos) => Math.floor(((pos % view.contextSize) * nBins) / view.contextSize));
    this.#positionCounts = new Uint32Array(nBins);
  }

  /** Adds the feature's posting list of one block; blocks come in order. */
  add(block: number, pos: Uint16Array, acts: Uint16Array): void {
    const { docs, windowSources, blockSequences, blockStarts, tokens } = this.#view;
    const firstSequence = block * blockSequences;
    const firstToken = blockStarts[block] as number;
    const counts = this.#tokenCounts;
    const sums = this.#tokenSums;
    for (let i = 0; i < pos.length; i++) {
      const at = pos[i] as number;
      const bits = acts[i] as number;
      const value = BF16[bits] as number;
      const sequence = firstSequence + (this.#sequenceOf[at] as number);
      this.#sum += value;
      this.#values.add(bits);
      this.#top.add(docs[sequence] as number, bits, block, at);
      this.#sourceCounts[windowSources[sequence] as number]! += 1;
      this.#positionCounts[this.#binOf[at] as number]! += 1;
      if (firstToken < 0) continue;
      const token = tokens[firstToken + at] as number;
      if (counts[token] === 0) this.#tokensSeen.push(token);
      counts[token]! += 1;
      sums[token]! += value;
    }
    this.#n += pos.length;
    if (firstToken >= 0) this.#nSampled += pos.length;
  }

  /** The sums of what was added; the next call adds to another feature. */
  finish(): FeatureSummary {
    const values = this.#values;
    const { bins, counts } = logHistogram(values);
    const summary: FeatureSummary = {
      nFirings: this.#n,
      max: BF16[values.descending()[0] ?? 0] as number,
      sum: this.#sum,
      logBins: bins,
      logCounts: counts,
      linearCounts: this.#n === 0 ? [] : linearHistogram(values, featureLimits.linearBins),
      strata: strata(values, this.#n, featureLimits.strata, featureLimits.picksPerStratum),
      top: this.#top.take(),
      topTokens: this.#takeTokens(),
      nSampled: this.#nSampled,
      sources: this.#takeSources(),
      positionCounts: this.#n === 0 ? this.#positionCounts.slice(0, 0) : this.#positionCounts.slice(),
    };
    this.#positionCounts.fill(0);
    values.clear();
    this.#n = 0;
    this.#nSampled = 0;
    this.#sum = 0;
    return summary;
  }

  #takeTokens(): TokenFirings {
    const counts = this.#tokenCounts;
    const sums = this.#tokenSums;
    const best = this.#bestTokens;
    const comesBefore = (a: number, b: number) => (sums[a] as number) > (sums[b] as number) || (sums[a] === sums[b] && a < b);
    let length = 0;
    // Few of many are kept: each is put in its place, and most never enter.
    for (const token of this.#tokensSeen) {
      let at = best.length - 1;
      if (length < best.length) at = length++;
      else if (!comesBefore(token, best[at] as number)) continue;
      for (; at > 0 && comesBefore(token, best[at - 1] as number); at--) best[at] = best[at - 1] as number;
      best[at] = token;
    }
    const ids = best.slice(0, length);
    const found = { ids, n: Uint32Array.from(ids, (id) => counts[id] as number), sums: Float32Array.from(ids, (id) => sums[id] as number) };
    for (const token of this.#tokensSeen) {
      counts[token] = 0;
      sums[token] = 0;
    }
    this.#tokensSeen.length = 0;
    return found;
  }

  #takeSources(): SourceFirings[] {
    const found = this.#view.sources.map((source, i) => ({ source, n: this.#sourceCounts[i] as number })).filter(({ n }) => n > 0);
    this.#sourceCounts.fill(0);
    return found.sort((a, b) => b.n - a.n || (a.source < b.source ? -1 : 1));
  }
}

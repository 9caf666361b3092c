import type { ClickHouse } from "@mistral-sae/clickhouse";
import { T } from "../store/tables.ts";
import type { CorpusView } from "./corpus-view.ts";
import { ExamplePass, PassMemory } from "./example-pass.ts";
import { FeaturePass, type FeatureSummary } from "./feature-pass.ts";
import { ExampleRows, StatsRows } from "./feature-rows.ts";
import { buildNearMisses } from "./near-misses.ts";
import { KeptPostings, type PostingRange, readPostings } from "./posting-lists.ts";

/** What came of a range. */
export interface RangeResult {
  readonly nFirings: number;
  readonly nAlive: number;
}

// 4 bytes each; a feature that fires more often is read from the table a second time.
const KEPT_FIRINGS = 4 << 20;

/** Makes statistics and examples of ranges of features. */
export class RangeBuilder {
  readonly #clickhouse: ClickHouse;
  readonly #view: CorpusView;
  readonly #texts: readonly string[];
  readonly #pass: FeaturePass;
  readonly #memory = new PassMemory();
  readonly #keep: KeptPostings;

  /** `texts`: text of each token by id. */
  constructor(clickhouse: ClickHouse, view: CorpusView, texts: readonly string[], keptFirings = KEPT_FIRINGS) {
    this.#clickhouse = clickhouse;
    this.#view = view;
    this.#texts = texts;
    this.#pass = new FeaturePass(view);
    this.#keep = new KeptPostings(keptFirings);
  }

  /** Builds a range and stores it; the same range gives the same inserts with the same tokens. */
  async build(range: PostingRange): Promise<RangeResult> {
    const stats = new StatsRows(this.#texts);
    const examples = new ExampleRows();
    const large: { readonly feature: number; readonly summary: FeatureSummary }[] = [];
    const total = { nFirings: 0, nAlive: 0 };
    let next = range.start;
    let current: number | undefined;
    const finish = (feature: number) => {
      const summary = this.#pass.finish();
      stats.add(feature, summary);
      total.nFirings += summary.nFirings;
      total.nAlive += Number(summary.nFirings > 0);
      if (this.#keep.complete) this.#addExamples(feature, summary, examples);
      else large.push({ feature, summary });
      this.#keep.clear();
      next = feature + 1;
    };
    // Features that never fired have rows too.
    const finishSilent = (end: number) => {
      for (let feature = next; feature < end; feature++) finish(feature);
    };
    await readPostings(this.#clickhouse, range, (feature, block, pos, acts) => {
      if (feature !== current) {
        if (current !== undefined) finish(current);
        finishSilent(feature);
        current = feature;
      }
      this.#pass.add(block, pos, acts);
      this.#keep.add(block, pos, acts);
    });
    if (current !== undefined) finish(current);
    finishSilent(range.end);
    for (const { feature, summary } of large) {
      const pass = new ExamplePass(this.#view, summary, this.#memory);
      await readPostings(this.#clickhouse, { ...range, start: feature, end: feature + 1 }, (_, block, pos, acts) => pass.add(block, pos, acts));
      examples.add(feature, pass.finish(), this.#memory);
    }
    const { indexId, start, end } = range;
    const deduplicationToken = `${indexId}/${start}-${end}`;
    await this.#clickhouse.insertColumns(T.stagedStats, stats.columns(indexId), { deduplicationToken });
    if (examples.length > 0) await this.#clickhouse.insertColumns(T.featureExamples, examples.columns(indexId), { deduplicationToken });
    await buildNearMisses(this.#clickhouse, this.#view.docs, range);
    return total;
  }

  #addExamples(feature: number, summary: FeatureSummary, examples: ExampleRows): void {
    if (summary.nFirings === 0) return;
    const pass = new ExamplePass(this.#view, summary, this.#memory);
    this.#keep.forEach((block, pos, acts) => pass.add(block, pos, acts));
    examples.add(feature, pass.finish(), this.#memory);
  }
}

import type { ClickHouse } from "@mistral-sae/clickhouse";
import { featureLimits } from "../building/feature-pass.ts";
import type { IndexRecord } from "../catalogue/records.ts";
import type { WindowFiring } from "../wire/example-message.ts";
import { Firings } from "./firings.ts";
import { LoadedFirings } from "./loaded-firings.ts";
import { readExamples } from "./packed-pages.ts";

/** Where the firings of one feature are looked for: in its stored examples, here, or by ClickHouse. */
export class FiringSource {
  readonly #clickhouse: ClickHouse;
  readonly #index: IndexRecord;
  readonly #feature: number;
  readonly #source: string;
  readonly #signal: AbortSignal;

  /** Only those in documents of `source`, unless it is empty. */
  constructor(clickhouse: ClickHouse, index: IndexRecord, feature: number, source: string, signal: AbortSignal) {
    this.#clickhouse = clickhouse;
    this.#index = index;
    this.#feature = feature;
    this.#source = source;
    this.#signal = signal;
  }

  /** By ClickHouse: for groups that are drawn, and those that are no firings. */
  get queried(): Firings {
    return new Firings(this.#clickhouse, this.#index, this.#feature, this.#source, this.#signal);
  }

  /** Here where they can be: for whatever their values decide. */
  async loaded(): Promise<Firings> {
    return await LoadedFirings.open(this.#clickhouse, this.#index, this.#feature, this.#source, this.#signal);
  }

  /** The strongest of each document, at most `limit`, and whether there may be more; undefined where the stored examples do not tell. */
  async storedTop(limit: number): Promise<{ readonly firings: readonly WindowFiring[]; readonly more: boolean } | undefined> {
    if (this.#source !== "" || this.#index.importedFrom !== "" || limit > featureLimits.topExamples) return undefined;
    const examples = await readExamples(this.#clickhouse, this.#index.indexId, [this.#feature]);
    this.#signal.throwIfAborted();
    const top = examples.filter(({ stratum }) => stratum === 0);
    return { firings: top.slice(0, limit), more: top.length > limit || top.length === featureLimits.topExamples };
  }
}

import { featureLimits } from "../building/feature-pass.ts";
import type { WindowFiring } from "../wire/example-message.ts";
import { Firings, type FiringScope } from "./firings.ts";
import { LoadedFirings } from "./loaded-firings.ts";
import { readExamples } from "./packed-pages.ts";

/** Where the firings of one feature are looked for: in its stored examples, here, or by ClickHouse. */
export class FiringSource {
  readonly #scope: FiringScope;

  constructor(scope: FiringScope) {
    this.#scope = scope;
  }

  /** By ClickHouse: for groups that are drawn, and those that are no firings. */
  get queried(): Firings {
    return new Firings(this.#scope);
  }

  /** Here where they can be: for whatever their values decide. */
  async loaded(): Promise<Firings> {
    return await LoadedFirings.open(this.#scope);
  }

  /** The strongest of each document, at most `limit`, and whether there may be more; undefined where the stored examples do not tell. */
  async storedTop(limit: number): Promise<{ readonly firings: readonly WindowFiring[]; readonly more: boolean } | undefined> {
    const { clickhouse, index, feature, source, signal } = this.#scope;
    if (source !== "" || index.importedFrom !== "" || limit > featureLimits.topExamples) return undefined;
    const examples = await readExamples(clickhouse, index.indexId, [feature]);
    signal.throwIfAborted();
    const top = examples.filter(({ stratum }) => stratum === 0);
    return { firings: top.slice(0, limit), more: top.length > limit || top.length === featureLimits.topExamples };
  }
}

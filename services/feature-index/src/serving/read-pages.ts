import type { ClickHouse } from "@mistral-sae/clickhouse";
import type { IndexRecord } from "../catalogue/records.ts";
import { ranked } from "./coactivations.ts";
import { type Explanation, readExplanations } from "./explanations.ts";
import type { FullRow } from "./feature-rows.ts";
import type { KeptWindows } from "./kept-windows.ts";
import { readStoredPages, type StoredPage } from "./packed-pages.ts";
import type { StoredWindow } from "./windows.ts";

/** A page that is wanted. */
export interface PageKey {
  readonly index: IndexRecord;
  readonly feature: number;
}

/** What a page is made of. */
export interface PageData extends StoredPage {
  readonly correlated: readonly { readonly feature: number; readonly value: number }[];
  /** Windows of the examples, among others. */
  readonly windows: ReadonlyMap<number, StoredWindow>;
  /** Of the feature and of those that its page mentions, best first. */
  readonly explanations: ReadonlyMap<number, readonly Explanation[]>;
}

const CORRELATED = 10;

/** Features that fire together with a feature most, as its page shows them. */
function correlatedOf(row: FullRow): { readonly feature: number; readonly value: number }[] {
  return ranked(row, "jaccard").slice(0, CORRELATED);
}

/** What these pages are made of, in order; undefined for a feature that the index does not have. Three queries an index, the last two at once. */
export async function readPages(clickhouse: ClickHouse, windows: KeptWindows, keys: readonly PageKey[]): Promise<(PageData | undefined)[]> {
  const found = new Map<number, ReadonlyMap<number, PageData>>();
  const groups = Map.groupBy(keys, ({ index }) => index.indexId);
  await Promise.all(
    [...groups.values()].map(async (group) => {
      const { index } = group[0] as PageKey;
      found.set(index.indexId, await readOfIndex(clickhouse, windows, index, [...new Set(group.map(({ feature }) => feature))]));
    }),
  );
  return keys.map(({ index, feature }) => found.get(index.indexId)?.get(feature));
}

async function readOfIndex(clickhouse: ClickHouse, kept: KeptWindows, { indexId, corpus, sae }: IndexRecord, features: readonly number[]): Promise<ReadonlyMap<number, PageData>> {
  const stored = [...(await readStoredPages(clickhouse, indexId, features)).values()].map((page) => ({ ...page, correlated: correlatedOf(page.row) }));
  const mentioned = new Set(stored.flatMap(({ row, correlated }) => [row.feature, ...row.nearest, ...row.encoderNearest, ...correlated.map(({ feature }) => feature)]));
  const [explanations, windows] = await Promise.all([
    readExplanations(clickhouse, sae.saeId, [...mentioned]),
    kept.read(corpus, stored.flatMap(({ examples }) => examples.map(({ sequence }) => sequence))),
  ]);
  return new Map(stored.map((page) => [page.row.feature, { ...page, windows, explanations }]));
}

import type { ClickHouse } from "@mistral-sae/clickhouse";
import type { IndexRecord } from "../catalogue/records.ts";
import { type Columns, smallRows } from "../store/small-rows.ts";
import { T } from "../store/tables.ts";
import type { WindowFiring } from "../wire/example-message.ts";
import { ranked } from "./coactivations.ts";
import { type Explanation, readExplanations } from "./explanations.ts";
import { type FullRow, readFullRows } from "./feature-rows.ts";
import { readWindows, type StoredWindow } from "./windows.ts";

/** A page that is wanted. */
export interface PageKey {
  readonly index: IndexRecord;
  readonly feature: number;
}

/** What a page is made of. */
export interface PageData {
  readonly row: FullRow;
  /** Stratum by stratum, strongest first. */
  readonly examples: readonly StoredExample[];
  /** Windows of the examples, among others. */
  readonly windows: ReadonlyMap<number, StoredWindow>;
  /** Of the feature and of those that its page mentions, best first. */
  readonly explanations: ReadonlyMap<number, readonly Explanation[]>;
}

/** An example; `stratum` 0 is the largest activations. */
export interface StoredExample extends WindowFiring {
  readonly stratum: number;
}

interface ExampleRow extends StoredExample {
  readonly feature: number;
  readonly rank: number;
}

const exampleColumns: Columns<ExampleRow> = {
  feature: ["feature_index", (row) => row.u32()],
  stratum: ["stratum", (row) => row.u8()],
  rank: ["rank", (row) => row.u16()],
  sequence: ["sequence_id", (row) => row.u32()],
  token: ["token_index", (row) => row.u16()],
  pos: ["pos", (row) => row.u16s()],
  // The unrounded ones of an import, or our own.
  acts: [
    "acts, acts_f32",
    (row) => {
      const own = row.bf16s();
      const given = row.f32s();
      return given.length > 0 ? given : own;
    },
  ],
};

const CORRELATED = 10;

/** Features that fire together with a feature most, as its page shows them. */
export function correlatedOf(row: FullRow): { readonly feature: number; readonly value: number }[] {
  return ranked(row, "jaccard").slice(0, CORRELATED);
}

/** Stored examples of these features, of each stratum by stratum, strongest first. */
export async function readExamples(clickhouse: ClickHouse, indexId: number, features: readonly number[]): Promise<readonly (StoredExample & { readonly feature: number })[]> {
  const rows = await smallRows(clickhouse, exampleColumns, `FROM ${T.featureExamples} WHERE index_id = {indexId:UInt32} AND feature_index IN {features:Array(UInt32)}`, { indexId, features });
  // They lie in several parts until the table is merged, so the key's order is not theirs.
  return rows.sort((a, b) => a.stratum - b.stratum || a.rank - b.rank);
}

/** What these pages are made of, in order; undefined for a feature that the index does not have. Four queries an index, two after two. */
export async function readPages(clickhouse: ClickHouse, keys: readonly PageKey[]): Promise<(PageData | undefined)[]> {
  const found = new Map<number, ReadonlyMap<number, PageData>>();
  const groups = Map.groupBy(keys, ({ index }) => index.indexId);
  await Promise.all(
    [...groups.values()].map(async (group) => {
      const { index } = group[0] as PageKey;
      found.set(index.indexId, await readOfIndex(clickhouse, index, [...new Set(group.map(({ feature }) => feature))]));
    }),
  );
  return keys.map(({ index, feature }) => found.get(index.indexId)?.get(feature));
}

async function readOfIndex(clickhouse: ClickHouse, { indexId, corpus, sae }: IndexRecord, features: readonly number[]): Promise<ReadonlyMap<number, PageData>> {
  const [rows, examples] = await Promise.all([
    readFullRows(clickhouse, indexId, features),
    readExamples(clickhouse, indexId, features),
  ]);
  const mentioned = new Set([...rows.values()].flatMap((row) => [row.feature, ...row.nearest, ...row.encoderNearest, ...correlatedOf(row).map((other) => other.feature)]));
  const [explanations, windows] = await Promise.all([
    readExplanations(clickhouse, sae.saeId, [...mentioned]),
    readWindows(clickhouse, corpus, examples.map(({ sequence }) => sequence)),
  ]);
  const examplesOf = Map.groupBy(examples, ({ feature }) => feature);
  return new Map([...rows].map(([feature, row]) => [feature, { row, examples: examplesOf.get(feature) ?? [], windows, explanations }]));
}

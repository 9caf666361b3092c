import type { ClickHouse } from "@mistral-sae/clickhouse";
import type { WindowFiring } from "../wire/example-message.ts";
import { type Columns, readRow, smallRows, sqlOf } from "../store/small-rows.ts";
import { T } from "../store/tables.ts";
import { type BasicRow, basicColumns, type FullRow, readBasicRows, readFullRows, restColumns } from "./feature-rows.ts";

/** An example; `stratum` 0 is the largest activations. */
export interface StoredExample extends WindowFiring {
  readonly stratum: number;
}

/** A feature with its examples, stratum by stratum, strongest first. */
export interface StoredPage {
  readonly row: FullRow;
  readonly examples: readonly StoredExample[];
}

interface ExampleRow extends StoredExample {
  readonly rank: number;
}

const exampleColumns: Columns<ExampleRow> = {
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

/** SQL of the columns of `feature_pages`, over a row of `features` and the `examples` beside it. */
export const PACKED = {
  basic: `formatRow('RowBinary', ${sqlOf(basicColumns)})`,
  rest: `formatRow('RowBinary', ${sqlOf(restColumns)}, examples)`,
  /** Over all rows of a feature in `feature_examples`. */
  examples: `arraySort(example -> (example.1, example.2), groupArray((${sqlOf(exampleColumns)})))`,
} as const;

const packedBasic: Columns<{ readonly row: BasicRow }> = { row: ["basic", (row) => row.packed(() => readRow(basicColumns, row))] };

const packedPage: Columns<{ readonly basic: BasicRow; readonly rest: Omit<FullRow, keyof BasicRow> & { readonly examples: readonly StoredExample[] } }> = {
  basic: ["basic", (row) => row.packed(() => readRow(basicColumns, row))],
  rest: ["rest", (row) => row.packed(() => ({ ...readRow(restColumns, row), examples: row.list(() => readRow(exampleColumns, row)) }))],
};

const OF_FEATURES = "WHERE index_id = {indexId:UInt32} AND feature_index IN {features:Array(UInt32)}";

/** What lists show of these features by number, lists whole. */
export async function readBasicPages(clickhouse: ClickHouse, indexId: number, features: readonly number[]): Promise<ReadonlyMap<number, BasicRow>> {
  if (features.length === 0) return new Map();
  const packed = await smallRows(clickhouse, packedBasic, `FROM ${T.featurePages} ${OF_FEATURES}`, { indexId, features });
  const found = new Map(packed.map(({ row }) => [row.feature, row]));
  const others = features.filter((feature) => !found.has(feature));
  return others.length === 0 ? found : new Map([...found, ...(await readBasicRows(clickhouse, indexId, others))]);
}

/** What pages show of these features by number, windows and explanations still to be added. */
export async function readStoredPages(clickhouse: ClickHouse, indexId: number, features: readonly number[]): Promise<ReadonlyMap<number, StoredPage>> {
  const packed = await smallRows(clickhouse, packedPage, `FROM ${T.featurePages} ${OF_FEATURES}`, { indexId, features });
  const found = new Map<number, StoredPage>(packed.map(({ basic, rest: { examples, ...rest } }) => [basic.feature, { row: { ...basic, ...rest }, examples }]));
  const others = features.filter((feature) => !found.has(feature));
  if (others.length === 0) return found;
  const [rows, examples] = await Promise.all([readFullRows(clickhouse, indexId, others), readExamples(clickhouse, indexId, others)]);
  const examplesOf = Map.groupBy(examples, ({ feature }) => feature);
  for (const [feature, row] of rows) found.set(feature, { row, examples: examplesOf.get(feature) ?? [] });
  return found;
}

const ownedExamples: Columns<ExampleRow & { readonly feature: number }> = { feature: ["feature_index", (row) => row.u32()], ...exampleColumns };

/** Stored examples of these features, of each stratum by stratum, strongest first. */
export async function readExamples(clickhouse: ClickHouse, indexId: number, features: readonly number[]): Promise<readonly (StoredExample & { readonly feature: number })[]> {
  const rows = await smallRows(clickhouse, ownedExamples, `FROM ${T.featureExamples} ${OF_FEATURES}`, { indexId, features });
  // They lie in several parts until the table is merged, so the key's order is not theirs.
  return rows.sort((a, b) => a.stratum - b.stratum || a.rank - b.rank);
}

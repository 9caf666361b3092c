import { constantColumn, fixedColumn, type NativeColumn, nullableColumn, stringColumn } from "@mistral-sae/clickhouse";
import { basename } from "node:path";
import { STORED_TEXTS, textLists } from "../../building/feature-rows.ts";
import { lists } from "./example-columns.ts";
import type { GivenFeature } from "./given-rows.ts";

/** Rows of `imported_rows` that are no examples. */
export interface PlainRow {
  readonly feature: number;
  readonly file: string;
  readonly row: Readonly<Record<string, unknown>>;
}

export function plainColumns(indexId: number, kind: "feature" | "explanation" | "metadata", first: number, rows: readonly PlainRow[]): NativeColumn[] {
  return [
    constantColumn("index_id", "UInt32", indexId, rows.length),
    stringColumn("kind", rows.map(() => kind)),
    fixedColumn("feature_index", "UInt32", Uint32Array.from(rows, ({ feature }) => feature)),
    fixedColumn("ordinal", "UInt32", Uint32Array.from(rows, (_, i) => first + i)),
    stringColumn("file", rows.map(({ file }) => (kind === "metadata" ? file : basename(file)))),
    stringColumn("row", rows.map(({ row }) => JSON.stringify(row))),
  ];
}

/** Rows of `staged_given`. */
export function givenColumns(indexId: number, rows: readonly GivenFeature[], ids: ReadonlyMap<string, number>): NativeColumn[] {
  const tokens = (side: "pos" | "neg"): NativeColumn[] => {
    const strings = rows.map((row) => row[`${side}Str`]);
    return [
      lists(`${side}_token_ids`, "UInt32", strings.map((row) => row.map((text) => ids.get(text) as number)), Uint32Array),
      lists(`${side}_logits`, "Float32", rows.map((row) => row[`${side}Values`]), Float32Array),
      textLists(`${side}_tokens`, strings.map((row) => row.slice(0, STORED_TEXTS))),
    ];
  };
  return [
    constantColumn("index_id", "UInt32", indexId, rows.length),
    fixedColumn("feature_index", "UInt32", Uint32Array.from(rows, ({ feature }) => feature)),
    optional("max_activation", rows.map(({ maxActivation }) => maxActivation)),
    optional("frac_nonzero", rows.map(({ fracNonzero }) => fracNonzero)),
    lists("hist_edges", "Float64", rows.map(({ barValues }) => edgesOf(barValues)), Float64Array),
    lists("hist_counts", "Float64", rows.map(({ barHeights }) => barHeights), Float64Array),
    ...tokens("pos"),
    ...tokens("neg"),
    lists("nearest", "UInt32", rows.map(({ nearest }) => nearest), Uint32Array),
    lists("nearest_cosine", "Float32", rows.map(({ nearestCosine }) => nearestCosine), Float32Array),
  ];
}

function optional(name: string, values: readonly (number | undefined)[]): NativeColumn {
  return nullableColumn(name, "Float64", Uint8Array.from(values, (value) => Number(value === undefined)), Float64Array.from(values, (value) => value ?? 0));
}

/** Edges of even bins from their middles; a single bin reaches from 0. */
export function edgesOf(middles: readonly number[]): number[] {
  const [first = 0, second] = middles;
  if (middles.length === 0) return [];
  const half = second === undefined ? first : ((middles.at(-1) as number) - first) / (middles.length - 1) / 2;
  return [...middles.map((middle) => middle - half), (middles.at(-1) as number) + half];
}

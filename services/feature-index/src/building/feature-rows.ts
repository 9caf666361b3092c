import { arrayColumn, constantColumn, fixedColumn, type NativeColumn, stringArrayColumn } from "@mistral-sae/clickhouse";
import type { Example } from "./example-pass.ts";
import type { FeatureSummary } from "./feature-pass.ts";
import { BF16 } from "./value-counts.ts";

/** Tokens whose texts are stored beside their ids. */
export const STORED_TEXTS = 10;

/** Arrays of several rows, one after another. */
class Lists {
  readonly values: number[] = [];
  readonly #ends: number[] = [];

  add(values: readonly number[]): void {
    for (const value of values) this.values.push(value);
    this.#ends.push(this.values.length);
  }

  ends(): Uint32Array {
    return Uint32Array.from(this.#ends);
  }

  u16(name: string): NativeColumn {
    return arrayColumn(name, "UInt16", this.ends(), Uint16Array.from(this.values));
  }

  u32(name: string): NativeColumn {
    return arrayColumn(name, "UInt32", this.ends(), Uint32Array.from(this.values));
  }

  u64(name: string): NativeColumn {
    return arrayColumn(name, "UInt64", this.ends(), BigUint64Array.from(this.values, BigInt));
  }

  f32(name: string): NativeColumn {
    return arrayColumn(name, "Float32", this.ends(), Float32Array.from(this.values));
  }

  bf16(name: string): NativeColumn {
    return arrayColumn(name, "BFloat16", this.ends(), Uint16Array.from(this.values));
  }
}

/** Collects rows of `staged_stats`. */
export class StatsRows {
  readonly #texts: readonly string[];
  readonly #features: number[] = [];
  readonly #summaries: FeatureSummary[] = [];

  /** `texts`: text of each token by id. */
  constructor(texts: readonly string[]) {
    this.#texts = texts;
  }

  add(feature: number, summary: FeatureSummary): void {
    this.#features.push(feature);
    this.#summaries.push(summary);
  }

  columns(indexId: number): NativeColumn[] {
    const rows = this.#summaries;
    const lists = (pick: (row: FeatureSummary) => readonly number[]): Lists => {
      const made = new Lists();
      for (const row of rows) made.add(pick(row));
      return made;
    };
    const tokenTexts = rows.map(({ topTokens }) => topTokens.slice(0, STORED_TEXTS).map(({ tokenId }) => this.#texts[tokenId] ?? ""));
    const sourceNames = rows.map(({ sources }) => sources.map(({ source }) => source));
    return [
      constantColumn("index_id", "UInt32", indexId, rows.length),
      fixedColumn("feature_index", "UInt32", Uint32Array.from(this.#features)),
      fixedColumn("n_firings", "UInt64", BigUint64Array.from(rows, ({ nFirings }) => BigInt(nFirings))),
      fixedColumn("max_activation", "Float32", Float32Array.from(rows, ({ max }) => max)),
      fixedColumn("sum_activation", "Float64", Float64Array.from(rows, ({ sum }) => sum)),
      lists(({ logBins }) => logBins).u16("log_bins"),
      lists(({ logCounts }) => logCounts).u32("log_counts"),
      lists(({ linearCounts }) => linearCounts).u32("linear_counts"),
      lists(({ strata }) => strata.map(({ n }) => n)).u32("strata_n"),
      lists(({ strata }) => strata.map(({ min }) => min)).f32("strata_min"),
      lists(({ strata }) => strata.map(({ max }) => max)).f32("strata_max"),
      lists(({ topTokens }) => topTokens.map(({ tokenId }) => tokenId)).u32("top_token_ids"),
      lists(({ topTokens }) => topTokens.map(({ n }) => n)).u32("top_token_n"),
      lists(({ topTokens }) => topTokens.map(({ sum }) => sum)).f32("top_token_sum"),
      textLists("top_tokens", tokenTexts),
      fixedColumn("n_firings_sampled", "UInt64", BigUint64Array.from(rows, ({ nSampled }) => BigInt(nSampled))),
      textLists("sources", sourceNames),
      lists(({ sources }) => sources.map(({ n }) => n)).u64("source_n"),
      lists(({ positionCounts }) => positionCounts).u32("position_counts"),
    ];
  }
}

/** A column of lists of texts. */
export function textLists(name: string, rows: readonly (readonly string[])[]): NativeColumn {
  let end = 0;
  return stringArrayColumn(name, Uint32Array.from(rows, (row) => (end += row.length)), rows.flat());
}

/** Collects rows of `feature_examples`. */
export class ExampleRows {
  readonly #features: number[] = [];
  readonly #examples: Example[] = [];

  add(feature: number, examples: readonly Example[]): void {
    for (const example of examples) {
      this.#features.push(feature);
      this.#examples.push(example);
    }
  }

  get length(): number {
    return this.#examples.length;
  }

  columns(indexId: number): NativeColumn[] {
    const rows = this.#examples;
    const pos = new Lists();
    const acts = new Lists();
    for (const row of rows) {
      pos.add(row.pos);
      acts.add(row.acts);
    }
    return [
      constantColumn("index_id", "UInt32", indexId, rows.length),
      fixedColumn("feature_index", "UInt32", Uint32Array.from(this.#features)),
      fixedColumn("stratum", "UInt8", Uint8Array.from(rows, ({ stratum }) => stratum)),
      fixedColumn("rank", "UInt16", Uint16Array.from(rows, ({ rank }) => rank)),
      fixedColumn("sequence_id", "UInt32", Uint32Array.from(rows, ({ sequence }) => sequence)),
      fixedColumn("token_index", "UInt16", Uint16Array.from(rows, ({ token }) => token)),
      fixedColumn("activation", "Float32", Float32Array.from(rows, ({ bits }) => BF16[bits] as number)),
      pos.u16("pos"),
      acts.bf16("acts"),
    ];
  }
}

import { arrayColumn, constantColumn, fixedColumn, type NativeColumn, stringArrayColumn } from "@mistral-sae/clickhouse";
import { Growing } from "../blocks/growing.ts";
import type { Example, PassMemory } from "./example-pass.ts";
import type { FeatureSummary } from "./feature-pass.ts";
import { BF16 } from "./value-counts.ts";

/** Tokens whose texts are stored beside their ids. */
export const STORED_TEXTS = 10;

const growingU16 = () => new Growing((n) => new Uint16Array(n));
const growingU32 = () => new Growing((n) => new Uint32Array(n));
const growingF32 = () => new Growing((n) => new Float32Array(n));
const growingF64 = () => new Growing((n) => new Float64Array(n));

type Numbers = Uint16Array<ArrayBuffer> | Uint32Array<ArrayBuffer> | Float32Array<ArrayBuffer> | BigUint64Array<ArrayBuffer>;

/** Arrays of several rows, one after another. */
class Lists<A extends Numbers> {
  readonly #values: Growing<A>;
  readonly #ends = growingU32();

  constructor(make: (length: number) => A) {
    this.#values = new Growing(make);
  }

  add(values: ArrayLike<A[number]>): void {
    this.#values.append(values);
    this.#ends.push(this.#values.length);
  }

  column(name: string, type: "UInt16" | "UInt32" | "UInt64" | "Float32" | "BFloat16"): NativeColumn {
    return arrayColumn(name, type, this.#ends.view(), this.#values.view());
  }
}

const listsU16 = () => new Lists((n) => new Uint16Array(n));
const listsU32 = () => new Lists((n) => new Uint32Array(n));
const listsU64 = () => new Lists((n) => new BigUint64Array(n));
const listsF32 = () => new Lists((n) => new Float32Array(n));

/** Collects rows of `staged_stats`. */
export class StatsRows {
  readonly #texts: readonly string[];
  readonly #features = growingU32();
  readonly #nFirings = growingF64();
  readonly #nSampled = growingF64();
  readonly #max = growingF32();
  readonly #sum = growingF64();
  readonly #logBins = listsU16();
  readonly #logCounts = listsU32();
  readonly #linearCounts = listsU32();
  readonly #strataN = listsU32();
  readonly #strataMin = listsF32();
  readonly #strataMax = listsF32();
  readonly #tokenIds = listsU32();
  readonly #tokenN = listsU32();
  readonly #tokenSums = listsF32();
  readonly #tokenTexts: string[][] = [];
  readonly #sources: string[][] = [];
  readonly #sourceN = listsU64();
  readonly #positionCounts = listsU32();

  /** `texts`: text of each token by id. */
  constructor(texts: readonly string[]) {
    this.#texts = texts;
  }

  add(feature: number, { nFirings, nSampled, max, sum, logBins, logCounts, linearCounts, strata, topTokens, sources, positionCounts }: FeatureSummary): void {
    this.#features.push(feature);
    this.#nFirings.push(nFirings);
    this.#nSampled.push(nSampled);
    this.#max.push(max);
    this.#sum.push(sum);
    this.#logBins.add(logBins);
    this.#logCounts.add(logCounts);
    this.#linearCounts.add(linearCounts);
    this.#strataN.add(strata.map(({ n }) => n));
    this.#strataMin.add(strata.map(({ min }) => min));
    this.#strataMax.add(strata.map((stratum) => stratum.max));
    this.#tokenIds.add(topTokens.ids);
    this.#tokenN.add(topTokens.n);
    this.#tokenSums.add(topTokens.sums);
    this.#tokenTexts.push(Array.from(topTokens.ids.subarray(0, STORED_TEXTS), (id) => this.#texts[id] ?? ""));
    this.#sources.push(sources.map(({ source }) => source));
    this.#sourceN.add(sources.map(({ n }) => BigInt(n)));
    this.#positionCounts.add(positionCounts);
  }

  columns(indexId: number): NativeColumn[] {
    return [
      constantColumn("index_id", "UInt32", indexId, this.#features.length),
      fixedColumn("feature_index", "UInt32", this.#features.view()),
      fixedColumn("n_firings", "UInt64", BigUint64Array.from(this.#nFirings.view(), BigInt)),
      fixedColumn("max_activation", "Float32", this.#max.view()),
      fixedColumn("sum_activation", "Float64", this.#sum.view()),
      this.#logBins.column("log_bins", "UInt16"),
      this.#logCounts.column("log_counts", "UInt32"),
      this.#linearCounts.column("linear_counts", "UInt32"),
      this.#strataN.column("strata_n", "UInt32"),
      this.#strataMin.column("strata_min", "Float32"),
      this.#strataMax.column("strata_max", "Float32"),
      this.#tokenIds.column("top_token_ids", "UInt32"),
      this.#tokenN.column("top_token_n", "UInt32"),
      this.#tokenSums.column("top_token_sum", "Float32"),
      textLists("top_tokens", this.#tokenTexts),
      fixedColumn("n_firings_sampled", "UInt64", BigUint64Array.from(this.#nSampled.view(), BigInt)),
      textLists("sources", this.#sources),
      this.#sourceN.column("source_n", "UInt64"),
      this.#positionCounts.column("position_counts", "UInt32"),
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
  readonly #features = growingU32();
  readonly #strata = growingU16();
  readonly #ranks = growingU16();
  readonly #sequences = growingU32();
  readonly #tokens = growingU16();
  readonly #activations = growingF32();
  readonly #pos = listsU16();
  readonly #acts = listsU16();

  /** Copies what it takes from `memory`. */
  add(feature: number, examples: readonly Example[], { pos, acts }: PassMemory): void {
    for (const { stratum, rank, sequence, token, bits, from, to } of examples) {
      this.#features.push(feature);
      this.#strata.push(stratum);
      this.#ranks.push(rank);
      this.#sequences.push(sequence);
      this.#tokens.push(token);
      this.#activations.push(BF16[bits] as number);
      this.#pos.add(pos.values.subarray(from, to));
      this.#acts.add(acts.values.subarray(from, to));
    }
  }

  get length(): number {
    return this.#features.length;
  }

  columns(indexId: number): NativeColumn[] {
    return [
      constantColumn("index_id", "UInt32", indexId, this.length),
      fixedColumn("feature_index", "UInt32", this.#features.view()),
      fixedColumn("stratum", "UInt8", Uint8Array.from(this.#strata.view())),
      fixedColumn("rank", "UInt16", this.#ranks.view()),
      fixedColumn("sequence_id", "UInt32", this.#sequences.view()),
      fixedColumn("token_index", "UInt16", this.#tokens.view()),
      fixedColumn("activation", "Float32", this.#activations.view()),
      this.#pos.column("pos", "UInt16"),
      this.#acts.column("acts", "BFloat16"),
    ];
  }
}

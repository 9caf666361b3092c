import type { ClickHouse } from "@mistral-sae/clickhouse";
import { BlockLayout } from "../blocks/block-layout.ts";
import type { IndexRecord } from "../catalogue/records.ts";
import { ACTS_F32 } from "../store/activations-sql.ts";
import { T } from "../store/tables.ts";
import type { WindowFiring } from "../wire/example-message.ts";
import { type NearMiss, requireNearMisses } from "./near-misses.ts";

/** One firing. */
export interface FiringRow {
  readonly block: number;
  readonly pos: number;
  readonly activation: number;
}

/** A firing's place. */
export interface Place {
  readonly block: number;
  readonly pos: number;
}

/** Whose firings are looked for, and where. */
export interface FiringScope {
  readonly clickhouse: ClickHouse;
  readonly index: IndexRecord;
  readonly feature: number;
  /** Only those in documents of this source, unless it is empty. */
  readonly source: string;
  readonly signal: AbortSignal;
}

/** The firings of one feature, read from its posting lists. */
export class Firings {
  readonly #clickhouse: ClickHouse;
  readonly #index: IndexRecord;
  readonly #feature: number;
  readonly #layout: BlockLayout;
  readonly #source: string;
  readonly #signal: AbortSignal;

  constructor({ clickhouse, index, feature, source, signal }: FiringScope) {
    this.#clickhouse = clickhouse;
    this.#index = index;
    this.#feature = feature;
    this.#layout = new BlockLayout(index.corpus.contextSize, index.nSequences);
    this.#source = source;
    this.#signal = signal;
  }

  /** Strongest first, then by position. */
  async strongest(limit: number, offset: number): Promise<FiringRow[]> {
    return await this.#rows("ORDER BY activation DESC, block, pos LIMIT {limit:UInt64} OFFSET {offset:UInt64}", { limit, offset });
  }

  /** In an order that the seed decides. */
  async drawn(seed: bigint, limit: number, offset: number): Promise<FiringRow[]> {
    return await this.#rows("ORDER BY sipHash64({seed:UInt64}, block, pos), block, pos LIMIT {limit:UInt64} OFFSET {offset:UInt64}", { seed: seed.toString(), limit, offset });
  }

  /** Those of the given ranks, strongest first; ranks count from 1. */
  async ranked(ranks: readonly number[]): Promise<(FiringRow & { readonly rank: number })[]> {
    return await this.#rows("QUALIFY has({ranks:Array(UInt64)}, rank) ORDER BY rank", { ranks }, ", row_number() OVER (ORDER BY activation DESC, block, pos) AS rank");
  }

  /** How many there are, and the least and largest. */
  async extent(): Promise<{ readonly n: number; readonly min: number; readonly max: number }> {
    return await this.#clickhouse.row(`SELECT count() AS n, min(activation) AS min, max(activation) AS max FROM (${this.#select()})`, this.#params(), this.#call());
  }

  /** How many fall into each of `nBins` bins over [low, high], of values or of their logarithms. */
  async counts(low: number, high: number, nBins: number, log: boolean): Promise<number[]> {
    const scaled = log ? "log(activation / {low:Float64}) / log({high:Float64} / {low:Float64})" : "(activation - {low:Float64}) / ({high:Float64} - {low:Float64})";
    const rows = await this.#clickhouse.rows<{ bin: number; n: number }>(
      `SELECT toUInt32(least({nBins:UInt32} - 1., greatest(0., floor(${scaled} * {nBins:UInt32})))) AS bin, count() AS n FROM (${this.#select()}) GROUP BY bin`,
      { ...this.#params(), low, high, nBins },
      this.#call(),
    );
    const counts = Array.from({ length: nBins }, () => 0);
    for (const { bin, n } of rows) counts[bin] = n;
    return counts;
  }

  /** All firings of the windows that these firings are in, in their order. */
  async inWindows(places: readonly Place[]): Promise<WindowFiring[]> {
    const blocks = [...new Set(places.map(({ block }) => block))];
    const rows = await this.#clickhouse.rows<{ block: number; pos: number[]; acts: number[] }>(
      `SELECT block, pos, ${ACTS_F32} AS acts FROM ${T.postings} WHERE ${this.#where()} AND block IN {blocks:Array(UInt32)} ORDER BY block, is_special`,
      { ...this.#params(), blocks },
      this.#call(),
    );
    const rowsOf = Map.groupBy(rows, ({ block }) => block);
    return places.map(({ block, pos }) => {
      const token = this.#layout.tokenAt(pos);
      const first = pos - token;
      const inside = (rowsOf.get(block) ?? [])
        .flatMap((row) => row.pos.map((at, i) => ({ at: at - first, act: row.acts[i] as number })))
        .filter(({ at }) => at >= 0 && at < this.#layout.contextSize)
        .sort((a, b) => a.at - b.at);
      return { sequence: this.#layout.sequenceAt(block, pos), token, pos: inside.map(({ at }) => at), acts: inside.map(({ act }) => act) };
    });
  }

  /** Document of each window that these firings are in. */
  async documents(places: readonly Place[]): Promise<number[]> {
    const sequences = places.map(({ block, pos }) => this.#layout.sequenceAt(block, pos));
    const rows = await this.#clickhouse.rows<{ sequence: number; doc: number }>(
      `SELECT sequence_id AS sequence, doc_id AS doc FROM ${T.sequences} WHERE corpus_id = {corpusId:UInt32} AND sequence_id IN {sequences:Array(UInt32)}`,
      { corpusId: this.#index.corpus.corpusId, sequences: [...new Set(sequences)] },
      this.#call(),
    );
    const docs = new Map(rows.map(({ sequence, doc }) => [sequence, doc]));
    return sequences.map((sequence) => docs.get(sequence) ?? -1);
  }

  /** Windows in an order that the seed decides in which the feature does not fire at all. */
  async silentWindows(seed: bigint, limit: number, offset: number): Promise<number[]> {
    const { blockSequences, contextSize } = this.#layout;
    const rows = await this.#clickhouse.rows<{ s: number }>(
      `SELECT sequence_id AS s FROM ${T.sequences} WHERE corpus_id = {corpusId:UInt32} AND sequence_id < {nSequences:UInt32} ${this.#source === "" ? "" : "AND source = {source:String}"}
         AND sequence_id NOT IN (SELECT toUInt32(block * {blockSequences:UInt32} + intDiv(p, {contextSize:UInt32})) FROM ${T.postings} ARRAY JOIN pos AS p WHERE ${this.#where()})
       ORDER BY sipHash64({seed:UInt64}, sequence_id), sequence_id LIMIT {limit:UInt64} OFFSET {offset:UInt64}`,
      { ...this.#params(), corpusId: this.#index.corpus.corpusId, nSequences: this.#index.nSequences, blockSequences, contextSize, seed: seed.toString(), limit, offset },
      this.#call(),
    );
    return rows.map(({ s }) => s);
  }

  /**
   * Tokens on which the feature came closest to firing, closest first, with the pre-activation in the place of an activation.
   * @throws FAILED_PRECONDITION for an index that keeps none.
   */
  async nearMisses(limit: number, offset: number): Promise<NearMiss[]> {
    const inSource = this.#source === "" ? "" : `AND sequence_id IN (SELECT sequence_id FROM ${T.sequences} WHERE corpus_id = {corpusId:UInt32} AND source = {source:String})`;
    const rows = await this.#clickhouse.rows<{ sequence: number; token: number; value: number; threshold: number }>(
      `SELECT sequence_id AS sequence, token_index AS token, toFloat64(pre_activation) AS value, toFloat64(threshold) AS threshold FROM ${T.nearMisses}
       WHERE index_id = {indexId:UInt32} AND feature_index = {feature:UInt32} ${inSource} ORDER BY rank LIMIT {limit:UInt64} OFFSET {offset:UInt64}`,
      { ...this.#params(), limit, offset },
      this.#call(),
    );
    if (rows.length === 0) await requireNearMisses(this.#clickhouse, this.#index, this.#signal);
    return rows.map(({ sequence, token, value, threshold }) => ({ firing: { sequence, token, pos: [token], acts: [value] }, threshold }));
  }

  async #rows<Row extends FiringRow>(end: string, params: Readonly<Record<string, unknown>>, columns = ""): Promise<Row[]> {
    return await this.#clickhouse.rows<Row>(`SELECT block, pos, activation${columns} FROM (${this.#select()}) ${end}`, { ...this.#params(), ...params }, this.#call());
  }

  #select(): string {
    const inSource =
      this.#source === ""
        ? ""
        : `AND toUInt32(block * {blockSequences:UInt32} + intDiv(pos, {contextSize:UInt32})) IN (SELECT sequence_id FROM ${T.sequences} WHERE corpus_id = {corpusId:UInt32} AND source = {source:String})`;
    return `SELECT block, p AS pos, toFloat64(a) AS activation FROM (SELECT block, pos AS positions, ${ACTS_F32} AS values FROM ${T.postings} WHERE ${this.#where()}) ARRAY JOIN positions AS p, values AS a WHERE 1 ${inSource}`;
  }

  #where(): string {
    return `index_id = {indexId:UInt32} AND feature_index = {feature:UInt32} AND is_special IN {kinds:Array(UInt8)}`;
  }

  #params(): Readonly<Record<string, unknown>> {
    const { blockSequences, contextSize } = this.#layout;
    return {
      indexId: this.#index.indexId,
      feature: this.#feature,
      kinds: this.#index.includeSpecialTokens ? [0, 1] : [0],
      corpusId: this.#index.corpus.corpusId,
      source: this.#source,
      blockSequences,
      contextSize,
    };
  }

  #call() {
    return { signal: this.#signal } as const;
  }
}

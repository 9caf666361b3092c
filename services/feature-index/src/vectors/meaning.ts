import type { ClickHouse, Login } from "@mistral-sae/clickhouse";
import type { Job, JobEngine } from "@mistral-sae/jobs";
import type { Catalogue } from "../catalogue/catalogue.ts";
import type { IndexRecord, SaeRecord } from "../catalogue/records.ts";
import type { Vocabularies } from "../corpus/vocabulary.ts";
import { dropPartition } from "../store/table-facts.ts";
import { SAE_TABLES, T } from "../store/tables.ts";
import { Changes } from "./changes.ts";
import { embedJob, type EmbedParts } from "./embed-job.ts";
import type { EmbeddingsConfig } from "./embeddings-config.ts";
import { MeaningSearch, type MeaningHits, type MeaningQuery } from "./meaning-search.ts";
import { deleteByName } from "./missing-vectors.ts";
import { openSource } from "./open-source.ts";
import { VectorSources } from "./sources.ts";
import { VectorKeeper } from "./vector-keeper.ts";

/** What searching by meaning works with. */
export interface MeaningParts {
  readonly clickhouse: ClickHouse;
  readonly catalogue: Catalogue;
  readonly vocabularies: Vocabularies;
  readonly url: string;
  readonly owner: Login;
  readonly threads: number;
  readonly searchMemoryMib: number;
  readonly embeddings: EmbeddingsConfig;
}

/** Searching by meaning, and keeping what it needs up to date. */
export class Meaning {
  readonly job: Job;
  readonly #clickhouse: ClickHouse;
  readonly #embed: EmbedParts;
  readonly #search: MeaningSearch;
  #keeper: VectorKeeper | undefined;

  private constructor(parts: MeaningParts, sources: VectorSources) {
    const changes = new Changes();
    this.#clickhouse = parts.clickhouse;
    this.#embed = { ...parts, sources, changes };
    this.#search = new MeaningSearch({ ...parts, sources, changes, maxBytes: parts.searchMemoryMib * 2 ** 20 });
    this.job = embedJob(this.#embed);
  }

  /** @throws InputError when the configured source cannot be read. */
  static async open(parts: MeaningParts): Promise<Meaning> {
    return new Meaning(parts, new VectorSources(parts.clickhouse, parts.vocabularies, await openSource(parts.embeddings, parts.threads)));
  }

  /** From now on what lacks a vector gets one. */
  start(engine: JobEngine): void {
    this.#keeper = new VectorKeeper(this.#embed, engine);
    this.#keeper.wakeAll();
  }

  async search(index: IndexRecord, query: MeaningQuery, signal: AbortSignal): Promise<MeaningHits> {
    return await this.#search.search(index, query, signal);
  }

  /** Explanations of an SAE were stored. */
  wrote({ saeId, name }: SaeRecord): void {
    this.#embed.changes.written(saeId);
    this.#keeper?.wake(name);
  }

  /** Forgets explanations and their vectors; returns how many there were. */
  async remove({ saeId }: SaeRecord, entries: readonly { readonly feature: number; readonly name: string }[]): Promise<number> {
    const params = { saeId, features: entries.map(({ feature }) => feature), names: entries.map(({ name }) => name) };
    const { n } = await this.#clickhouse.row<{ n: number }>(
      `SELECT count() AS n FROM ${T.explanations} FINAL WHERE sae_id = {saeId:UInt32} AND feature_index IN {features:Array(UInt32)} AND has(arrayZip({features:Array(UInt32)}, {names:Array(String)}), (feature_index, name))`,
      params,
    );
    await deleteByName(this.#clickhouse, T.explanations, saeId, entries);
    await deleteByName(this.#clickhouse, T.explanationVectors, saeId, entries);
    this.#embed.changes.removed(saeId);
    return n;
  }

  /** Forgets the vectors of everything that SAEs were explained with. */
  async removeSaes(records: readonly SaeRecord[]): Promise<void> {
    for (const { saeId } of records) {
      for (const table of SAE_TABLES) await dropPartition(this.#clickhouse, table, saeId);
      this.#embed.changes.removed(saeId);
    }
  }

  /** Tables may hold something else: an index was built, explanations were imported, a backup was put back. */
  refresh(): void {
    this.#embed.changes.everything();
    this.#embed.sources.forget();
    this.#keeper?.wakeAll();
  }

  /** A job after which tables hold more. */
  refreshedBy(job: Job): Job {
    const reduce: Job["reduce"] = async (results, ctx) => {
      const output = await job.reduce(results, ctx);
      this.refresh();
      return output;
    };
    return { ...job, reduce };
  }

  /** Starts nothing more. */
  stop(): void {
    this.#keeper?.close();
  }

  async close(): Promise<void> {
    this.stop();
    await this.#search.close();
    await this.#embed.sources.close();
  }
}

import type { ClickHouse } from "@mistral-sae/clickhouse";
import type { IndexRecord } from "../catalogue/records.ts";
import type { Vocabularies } from "../corpus/vocabulary.ts";
import { T } from "../store/tables.ts";
import { OWN_METHOD } from "./own-space.ts";
import { OwnSource } from "./own-source.ts";
import type { VectorSource } from "./vector-source.ts";

const KEPT_QUERIES = 256;

/** Where the vectors of each index come from: the configured source, or the index itself. */
export class VectorSources {
  readonly #clickhouse: ClickHouse;
  readonly #vocabularies: Vocabularies;
  /** Undefined without one. */
  readonly external: VectorSource | undefined;
  readonly #own = new Map<number, OwnSource>();
  readonly #spaces = new Set<number>();
  readonly #queries = new Map<string, Float32Array>();

  constructor(clickhouse: ClickHouse, vocabularies: Vocabularies, external: VectorSource | undefined) {
    this.#clickhouse = clickhouse;
    this.#vocabularies = vocabularies;
    this.external = external;
  }

  of(index: IndexRecord): VectorSource {
    if (this.external !== undefined) return this.external;
    let own = this.#own.get(index.indexId);
    if (own === undefined) this.#own.set(index.indexId, (own = new OwnSource(this.#clickhouse, this.#vocabularies, index)));
    return own;
  }

  /** Whether an index' own space is whole. */
  async hasSpace(indexId: number): Promise<boolean> {
    if (this.#spaces.has(indexId)) return true;
    const { n } = await this.#clickhouse.row<{ n: number }>(`SELECT count() AS n FROM ${T.vectorSpaces} WHERE index_id = {indexId:UInt32} AND method = {method:String}`, { indexId, method: OWN_METHOD });
    if (n > 0) this.#spaces.add(indexId);
    return n > 0;
  }

  /**
   * The vector of a query. Those asked for last are kept: a source elsewhere takes its time, and may not answer the same twice,
   * which would move rows from one page to another.
   */
  async ofQuery(source: VectorSource, query: string, signal: AbortSignal): Promise<Float32Array> {
    const key = `${source.id}\n${query}`;
    const known = this.#queries.get(key);
    const vector = known ?? (await source.embed([query], "query", signal)).vectors[0] ?? new Float32Array();
    this.#queries.delete(key);
    this.#queries.set(key, vector);
    const [oldest] = this.#queries.keys();
    if (this.#queries.size > KEPT_QUERIES && oldest !== undefined) this.#queries.delete(oldest);
    return vector;
  }

  /** Forgets what was read of the tables. */
  forget(): void {
    this.#own.clear();
    this.#spaces.clear();
    this.#queries.clear();
  }

  async close(): Promise<void> {
    await this.external?.close();
  }
}

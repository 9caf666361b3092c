import type { ClickHouse } from "@mistral-sae/clickhouse";
import type { IndexRecord } from "../catalogue/records.ts";
import { RowReader } from "../store/row-reader.ts";
import { T } from "../store/tables.ts";
import { countedTokens } from "./resolve-index.ts";

const KEPT_INDEXES = 16;

/** Share of the corpus on which each feature of an index fires; kept in memory for the indexes used last. */
export class Densities {
  readonly #clickhouse: ClickHouse;
  readonly #loaded = new Map<number, Promise<Float64Array>>();

  constructor(clickhouse: ClickHouse) {
    this.#clickhouse = clickhouse;
  }

  /** One a feature. An index does not change once it is READY. */
  async of(index: IndexRecord): Promise<Float64Array> {
    const known = this.#loaded.get(index.indexId);
    this.#loaded.delete(index.indexId);
    const loading = known ?? this.#load(index);
    this.#loaded.set(index.indexId, loading);
    if (known === undefined) loading.catch(() => this.#loaded.delete(index.indexId));
    const [oldest] = this.#loaded.keys();
    if (this.#loaded.size > KEPT_INDEXES && oldest !== undefined) this.#loaded.delete(oldest);
    return await loading;
  }

  async #load(index: IndexRecord): Promise<Float64Array> {
    const densities = new Float64Array(index.sae.dSae);
    const counted = Math.max(1, countedTokens(index));
    const reader = new RowReader((row) => {
      const feature = row.u32();
      densities[feature] = row.f64();
    });
    const sql = `SELECT feature_index, if(imported = 1, ifNull(given_frac_nonzero, 0), n_firings / {counted:Float64}) AS share FROM ${T.features} WHERE index_id = {indexId:UInt32} AND share > 0`;
    for await (const chunk of this.#clickhouse.bytes(sql, "RowBinary", { indexId: index.indexId, counted })) reader.push(chunk);
    reader.end();
    return densities;
  }
}

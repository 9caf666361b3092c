import type { ClickHouse } from "@mistral-sae/clickhouse";
import { type RowCursor, RowReader } from "../store/row-reader.ts";
import { T } from "../store/tables.ts";
import { ExplanationRows } from "./explanation-rows.ts";
import { VectorRows } from "./vector-rows.ts";

/** What a search looks into. */
export interface SearchScope {
  readonly saeId: number;
  readonly dSae: number;
  readonly indexId: number;
  /** Source of the explanations' vectors; empty to do without. */
  readonly source: string;
  /** Whether features have vectors of the source too. */
  readonly own: boolean;
}

/** How current what is held has to be: `written` counts what was added, `removed` what was taken away. */
export interface Freshness {
  readonly written: number;
  readonly removed: number;
}

/** What is held in memory of an SAE's explanations and an index' features, so that a search reads little. */
export class SearchState {
  readonly explanations: ExplanationRows;
  readonly featureVectors: VectorRows;
  /** Occurrences of each token in the text that was counted, and of all. */
  readonly tokenCounts = new Map<number, number>();
  tokensCounted = 0;
  /** The highest logit that each feature gives a token. */
  readonly highestLogit: Float32Array;
  readonly #clickhouse: ClickHouse;
  readonly #scope: SearchScope;
  #written = -1;
  #textVersion = 0;
  #vectorVersion = 0;

  private constructor(clickhouse: ClickHouse, scope: SearchScope) {
    this.#clickhouse = clickhouse;
    this.#scope = scope;
    this.explanations = new ExplanationRows(scope.dSae);
    this.featureVectors = new VectorRows(scope.dSae);
    this.highestLogit = new Float32Array(scope.dSae);
  }

  static async load(clickhouse: ClickHouse, scope: SearchScope, freshness: Freshness): Promise<SearchState> {
    const state = new SearchState(clickhouse, scope);
    await state.#loadIndex();
    await state.refresh(freshness);
    return state;
  }

  get bytes(): number {
    return this.explanations.bytes + this.featureVectors.bytes + this.highestLogit.byteLength + 40 * this.tokenCounts.size;
  }

  /** Reads what was written since. Rows of the same millisecond are read once more. */
  async refresh({ written }: Freshness): Promise<void> {
    if (written === this.#written) return;
    const { saeId, source } = this.#scope;
    const texts = `SELECT feature_index, name, description, toUInt32(sipHash64(description) % 4294967296), version FROM ${T.explanations} FINAL WHERE sae_id = {saeId:UInt32} AND version >= {version:UInt64} ORDER BY feature_index, name`;
    let textVersion = this.#textVersion;
    await this.#read(texts, { saeId, version: textVersion }, (row) => {
      const [feature, name, description, hash, version] = [row.u32(), row.text(), row.text(), row.u32(), row.u64()];
      this.explanations.putText({ feature, name, description, hash });
      textVersion = Math.max(textVersion, version);
    });
    let vectorVersion = this.#vectorVersion;
    const vectors = `SELECT feature_index, name, toUInt32(text_hash % 4294967296), vector, version FROM ${T.explanationVectors} FINAL WHERE sae_id = {saeId:UInt32} AND source = {source:String} AND version >= {version:UInt64}`;
    if (source !== "") {
      await this.#read(vectors, { saeId, source, version: vectorVersion }, (row) => {
        const [feature, name, hash, vector, version] = [row.u32(), row.text(), row.u32(), floats(row), row.u64()];
        this.explanations.putVector({ feature, name, hash, vector });
        vectorVersion = Math.max(vectorVersion, version);
      });
    }
    this.#textVersion = textVersion;
    this.#vectorVersion = vectorVersion;
    this.#written = written;
  }

  async #loadIndex(): Promise<void> {
    const { indexId, own } = this.#scope;
    await this.#read(`SELECT token_id, n FROM ${T.tokenCounts} WHERE index_id = {indexId:UInt32}`, { indexId }, (row) => {
      const [token, n] = [row.u32(), row.u64()];
      this.tokenCounts.set(token, n);
      this.tokensCounted += n;
    });
    await this.#read(`SELECT feature_index, toFloat32(arrayMax(pos_logits)) FROM ${T.features} WHERE index_id = {indexId:UInt32} AND notEmpty(pos_logits)`, { indexId }, (row) => {
      const [feature, logit] = [row.u32(), row.f32()];
      this.highestLogit[feature] = logit;
    });
    if (!own) return;
    await this.#read(`SELECT feature_index, vector FROM ${T.featureVectors} WHERE index_id = {indexId:UInt32}`, { indexId }, (row) => {
      const [feature, vector] = [row.u32(), floats(row)];
      this.featureVectors.set(feature, vector);
    });
  }

  async #read(sql: string, params: Readonly<Record<string, unknown>>, handle: (row: RowCursor) => void): Promise<void> {
    const reader = new RowReader(handle);
    for await (const chunk of this.#clickhouse.bytes(sql, "RowBinary", params)) reader.push(chunk);
    reader.end();
  }
}

/** A copy, because the row's bytes are another row's before long. */
function floats(row: RowCursor): Float32Array {
  return new Float32Array(Uint8Array.from(row.array(4)).buffer);
}

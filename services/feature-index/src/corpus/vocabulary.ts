import { type ClickHouse, constantColumn, fixedColumn, stringColumn } from "@mistral-sae/clickhouse";
import type { Model } from "@mistral-sae/contracts/mistral_sae/inference/v1/model";
import type { Catalogue } from "../catalogue/catalogue.ts";
import type { Peers } from "../peers/peers.ts";
import { T } from "../store/tables.ts";
import { specialTokens } from "./tokenize.ts";
import { TokenWords } from "../words/token-words.ts";

/** Texts of the tokens of each tokenizer: stored once, then kept in memory. */
export class Vocabularies {
  readonly #clickhouse: ClickHouse;
  readonly #catalogue: Catalogue;
  readonly #peers: Peers;
  readonly #loaded = new Map<number, Promise<readonly string[]>>();
  readonly #words = new Map<number, TokenWords>();

  constructor(clickhouse: ClickHouse, catalogue: Catalogue, peers: Peers) {
    this.#clickhouse = clickhouse;
    this.#catalogue = catalogue;
    this.#peers = peers;
  }

  /** Stores the texts of a model's tokens where they are not yet, and returns their number in the tables. */
  async store(model: Model, signal: AbortSignal): Promise<number> {
    const { vocabularyId, size, specialIds } = this.#catalogue.vocabulary(model.name, model.digest);
    if (size > 0 && specialIds !== undefined) return vocabularyId;
    const ids = Array.from({ length: model.dVocab }, (_, id) => id);
    const { sequences } = await this.#peers.inference.detokenize({ model: model.name, sequences: [{ tokenIds: ids }], withStrTokens: true }, { signal });
    const [sequence] = sequences;
    const words = sequence?.strTokens ?? [];
    if (sequence === undefined || words.length !== ids.length) throw new Error(`got the texts of ${words.length} tokens, wanted ${ids.length}`);
    if (size === 0) {
      const columns = [constantColumn("vocabulary_id", "UInt32", vocabularyId, words.length), fixedColumn("token_id", "UInt32", Uint32Array.from(ids)), stringColumn("str_token", words)];
      await this.#clickhouse.insertColumns(T.vocabularies, columns, { signal, deduplicationToken: `vocabulary/${vocabularyId}` });
    }
    this.#catalogue.setSpecialIds(vocabularyId, specialTokens(sequence));
    this.#catalogue.setVocabularySize(vocabularyId, words.length);
    return vocabularyId;
  }

  /** Text of each token by id. */
  async texts(vocabularyId: number): Promise<readonly string[]> {
    let loading = this.#loaded.get(vocabularyId);
    if (loading === undefined) {
      loading = this.#load(vocabularyId);
      this.#loaded.set(vocabularyId, loading);
      // A failure is not kept: the next call asks again.
      loading.catch(() => this.#loaded.delete(vocabularyId));
    }
    return await loading;
  }

  /** The tokens by the words that they stand for. */
  async words(vocabularyId: number): Promise<TokenWords> {
    let words = this.#words.get(vocabularyId);
    if (words === undefined) this.#words.set(vocabularyId, (words = new TokenWords(await this.texts(vocabularyId))));
    return words;
  }

  async #load(vocabularyId: number): Promise<readonly string[]> {
    const rows = await this.#clickhouse.rows<{ s: string }>(`SELECT str_token AS s FROM ${T.vocabularies} FINAL WHERE vocabulary_id = {id:UInt32} ORDER BY token_id`, { id: vocabularyId });
    return rows.map(({ s }) => s);
  }
}

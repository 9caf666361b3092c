import type { ClickHouse } from "@mistral-sae/clickhouse";
import type { IndexRecord } from "../catalogue/records.ts";
import type { Vocabularies } from "../corpus/vocabulary.ts";
import { smallRows } from "../store/small-rows.ts";
import { T } from "../store/tables.ts";
import { queryWords } from "../words/words.ts";
import { OWN_METHOD } from "./own-space.ts";
import type { Embedded, VectorSource } from "./vector-source.ts";

/** The source of an index' own vectors. */
export function ownSourceId({ indexId }: Pick<IndexRecord, "indexId">): string {
  return `${OWN_METHOD}/${indexId}`;
}

interface TokenVector {
  readonly token: number;
  readonly vector: readonly number[];
}

interface TokenCount {
  readonly token: number;
  readonly n: number;
}

const TOKENS_A_READ = 4_096;

/**
 * Vectors in the space that tokens and features of an index share: the sum of the words' tokens, each by how rare it is,
 * log(tokens / its occurrences). Words that no token stands for add nothing; a text of only such words has a vector of zeros.
 */
export class OwnSource implements VectorSource {
  readonly id: string;
  readonly #clickhouse: ClickHouse;
  readonly #vocabularies: Vocabularies;
  readonly #index: IndexRecord;
  #total: Promise<number> | undefined;

  constructor(clickhouse: ClickHouse, vocabularies: Vocabularies, index: IndexRecord) {
    this.id = ownSourceId(index);
    this.#clickhouse = clickhouse;
    this.#vocabularies = vocabularies;
    this.#index = index;
  }

  async embed(texts: readonly string[]): Promise<Embedded> {
    const { indexId, corpus } = this.#index;
    const words = await this.#vocabularies.words(corpus.vocabularyId);
    const tokensOf = texts.map((text) => queryWords(text).flatMap((word) => words.of(word)));
    const wanted = [...new Set(tokensOf.flat().map(({ tokenId }) => tokenId))];
    const vectorOf = new Map<number, Float32Array>();
    let dimension = 0;
    const total = await this.#tokens();
    for (let start = 0; start < wanted.length; start += TOKENS_A_READ) {
      const params = { indexId, tokens: wanted.slice(start, start + TOKENS_A_READ) };
      const where = "WHERE index_id = {indexId:UInt32} AND token_id IN {tokens:Array(UInt32)}";
      const [vectors, counts] = await Promise.all([
        smallRows<TokenVector>(this.#clickhouse, { token: ["token_id", (row) => row.u32()], vector: ["vector", (row) => row.f32s()] }, `FROM ${T.tokenVectors} ${where}`, params),
        smallRows<TokenCount>(this.#clickhouse, { token: ["token_id", (row) => row.u32()], n: ["n", (row) => row.u64()] }, `FROM ${T.tokenCounts} ${where}`, params),
      ]);
      const nOf = new Map(counts.map(({ token, n }) => [token, n]));
      for (const { token, vector } of vectors) {
        dimension = vector.length;
        const rarity = Math.log(total / (nOf.get(token) ?? 1));
        vectorOf.set(token, Float32Array.from(vector, (value) => value * rarity));
      }
    }
    return { vectors: tokensOf.map((tokens) => sumOf(tokens, vectorOf, dimension)), nInPieces: 0 };
  }

  /** Tokens that were counted; an index does not change. */
  async #tokens(): Promise<number> {
    this.#total ??= this.#clickhouse.row<{ total: number }>(`SELECT sum(n) AS total FROM ${T.tokenCounts} WHERE index_id = {indexId:UInt32}`, { indexId: this.#index.indexId }).then(({ total }) => total);
    // A failure is not kept.
    this.#total.catch(() => (this.#total = undefined));
    return await this.#total;
  }

  async close(): Promise<void> {
    // Holds nothing.
  }
}

function sumOf(tokens: readonly { readonly tokenId: number; readonly weight: number }[], vectorOf: ReadonlyMap<number, Float32Array>, dimension: number): Float32Array {
  const sum = new Float32Array(dimension);
  for (const { tokenId, weight } of tokens) {
    const vector = vectorOf.get(tokenId);
    if (vector !== undefined) for (let j = 0; j < dimension; j++) sum[j]! += weight * (vector[j] as number);
  }
  return sum;
}

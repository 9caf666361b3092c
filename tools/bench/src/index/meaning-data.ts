import { DatabaseSync } from "node:sqlite";
import { arrayColumn, type ClickHouse, constantColumn, fixedColumn, type NativeColumn, stringColumn } from "@mistral-sae/clickhouse";

/** Sizes of an index that was never computed from a text. */
export interface MadeUpSizes {
  readonly features: number;
  readonly topics: number;
  /** Tokens of the vocabulary; each topic has so many of its own as go round. */
  readonly tokens: number;
  readonly topTokens: number;
  readonly logits: number;
  readonly wordsAnExplanation: number;
}

export const madeUpDefaults: MadeUpSizes = { features: 131_072, topics: 1_024, tokens: 32_768, topTokens: 100, logits: 20, wordsAnExplanation: 8 };

export const madeUp = { sae: "models/made-up/saes/large", corpus: "corpora/made-up", saeId: 1, indexId: 1, vocabularyId: 1 } as const;

const TABLES = "mistral_sae";
const FEATURES_AN_INSERT = 8_192;
const EXPLANATION_VERSION = 1_000n;

/** The word that a token is. Two syllables and more: no two tokens are the same, and none is the stem of another. */
export function madeUpWord(token: number): string {
  const consonants = "bdfgklmnprtvz";
  const vowels = "aiou";
  let word = "";
  for (let rest = token + 52 * 52; rest > 0; rest = Math.floor(rest / 52)) word += `${consonants[rest % 13] as string}${vowels[Math.floor((rest % 52) / 13)] as string}`;
  return `${word}k`;
}

/** Fills an empty feature index: features of topics, whose tokens share the topic's words, and an explanation each. */
export async function fillMadeUp(clickhouse: ClickHouse, catalogueFile: string, sizes: MadeUpSizes): Promise<void> {
  const { features, tokens, topTokens, logits, topics, wordsAnExplanation } = sizes;
  writeCatalogue(catalogueFile, sizes);
  const ids = Uint32Array.from({ length: tokens }, (_, i) => i);
  await clickhouse.insertColumns(`${TABLES}.vocabularies`, [constantColumn("vocabulary_id", "UInt32", madeUp.vocabularyId, tokens), fixedColumn("token_id", "UInt32", ids), stringColumn("str_token", Array.from(ids, (id) => ` ${madeUpWord(id)}`))]);
  const counts = BigUint64Array.from(ids, (id) => BigInt(Math.ceil(2e8 / (id + 10))));
  await clickhouse.insertColumns(`${TABLES}.token_counts`, [constantColumn("index_id", "UInt32", madeUp.indexId, tokens), fixedColumn("token_id", "UInt32", ids), fixedColumn("n", "UInt64", counts)]);

  const random = generator(7);
  const ofTopic = Math.floor(tokens / topics);
  for (let start = 0; start < features; start += FEATURES_AN_INSERT) {
    const n = Math.min(FEATURES_AN_INSERT, features - start);
    const topIds = new Uint32Array(n * topTokens);
    const topN = new Uint32Array(n * topTokens);
    const topSum = new Float32Array(n * topTokens);
    const posIds = new Uint32Array(n * logits);
    const posLogits = new Float32Array(n * logits);
    const descriptions: string[] = [];
    for (let row = 0; row < n; row++) {
      const topic = Math.floor(random() * topics);
      const token = (share: number): number => (random() < share ? (topic + topics * Math.floor(random() * ofTopic)) % tokens : Math.floor(tokens ** random()) - 1);
      distinct(topIds.subarray(row * topTokens, (row + 1) * topTokens), () => token(0.3));
      distinct(posIds.subarray(row * logits, (row + 1) * logits), () => token(0.5));
      for (let i = 0; i < topTokens; i++) {
        topN[row * topTokens + i] = Math.ceil(4_000 / (i + 1));
        topSum[row * topTokens + i] = (4_000 / (i + 1)) * (0.5 + random());
      }
      for (let i = 0; i < logits; i++) posLogits[row * logits + i] = 5 - i / 8;
      descriptions.push(Array.from({ length: wordsAnExplanation }, () => madeUpWord(token(0.6))).join(" "));
    }
    const featureIds = Uint32Array.from({ length: n }, (_, i) => start + i);
    const list = (width: number) => Uint32Array.from({ length: n }, (_, i) => (i + 1) * width);
    const columns: NativeColumn[] = [
      constantColumn("index_id", "UInt32", madeUp.indexId, n),
      fixedColumn("feature_index", "UInt32", featureIds),
      fixedColumn("n_firings", "UInt64", new BigUint64Array(n).fill(20_000n)),
      fixedColumn("n_firings_sampled", "UInt64", new BigUint64Array(n).fill(20_000n)),
      fixedColumn("max_activation", "Float32", new Float32Array(n).fill(4)),
      fixedColumn("sum_activation", "Float64", new Float64Array(n).fill(20_000)),
      arrayColumn("top_token_ids", "UInt32", list(topTokens), topIds),
      arrayColumn("top_token_n", "UInt32", list(topTokens), topN),
      arrayColumn("top_token_sum", "Float32", list(topTokens), topSum),
      arrayColumn("pos_token_ids", "UInt32", list(logits), posIds),
      arrayColumn("pos_logits", "Float32", list(logits), posLogits),
    ];
    await clickhouse.insertColumns(`${TABLES}.features`, columns);
    await clickhouse.insertColumns(`${TABLES}.explanations`, [
      constantColumn("sae_id", "UInt32", madeUp.saeId, n),
      fixedColumn("feature_index", "UInt32", featureIds),
      stringColumn("name", Array.from(featureIds, (id) => `${madeUp.sae}/features/${id}/explanations/made-up`)),
      stringColumn("description", descriptions),
      fixedColumn("version", "UInt64", new BigUint64Array(n).fill(EXPLANATION_VERSION)),
    ]);
  }
  await clickhouse.command(
    `INSERT INTO ${TABLES}.token_features (index_id, token_id, feature_index, pmi, strength)
     SELECT {indexId:UInt32}, token_id, feature_index, log(n * {total:Float64} / (n_firings_sampled * occurrences)), activation / (max_activation * occurrences)
     FROM (SELECT feature_index, n_firings_sampled, max_activation, token_id, n, activation FROM ${TABLES}.features ARRAY JOIN top_token_ids AS token_id, top_token_n AS n, top_token_sum AS activation) AS f
     INNER JOIN (SELECT token_id, n AS occurrences FROM ${TABLES}.token_counts) AS c USING token_id WHERE n >= 0.02 * occurrences SETTINGS max_threads = 1`,
    { indexId: madeUp.indexId, total: Number(counts.reduce((sum, n) => sum + n, 0n)) },
  );
  await clickhouse.command(
    `INSERT INTO ${TABLES}.logit_features (index_id, negative, token_id, feature_index, logit)
     SELECT {indexId:UInt32}, 0, token_id, feature_index, logit FROM ${TABLES}.features ARRAY JOIN pos_token_ids AS token_id, pos_logits AS logit SETTINGS max_threads = 1`,
    { indexId: madeUp.indexId },
  );
  for (const table of ["features", "explanations", "token_features", "logit_features"]) await clickhouse.command(`OPTIMIZE TABLE ${TABLES}.${table} FINAL`);
}

function writeCatalogue(file: string, { features, tokens }: MadeUpSizes): void {
  using db = new DatabaseSync(file, { timeout: 5_000 });
  const corpus = "INSERT INTO corpora (corpus_id, id, request_id, request, source, model, context_size, ready, n_tokens, vocabulary_id, created_ms) VALUES (1, 'made-up', '', '', '{}', 'models/made-up', 128, 1, 10000000, ?, 0)";
  db.prepare(corpus).run(madeUp.vocabularyId);
  db.prepare("INSERT INTO vocabularies (vocabulary_id, model, model_digest, size) VALUES (?, 'models/made-up', 'made-up', ?)").run(madeUp.vocabularyId, tokens);
  db.prepare("INSERT INTO saes (sae_id, name, digest, d_sae, hook_name) VALUES (?, ?, 'made-up', ?, 'blocks.0.hook_resid_post')").run(madeUp.saeId, madeUp.sae, features);
  const index = "INSERT INTO indexes (index_id, id, operation, sae_id, corpus_id, max_tokens, include_special_tokens, state, n_tokens, created_ms) VALUES (?, 'made-up', '', ?, 1, 0, 0, 'ready', 10000000, 0)";
  db.prepare(index).run(madeUp.indexId, madeUp.saeId);
}

function distinct(ids: Uint32Array, draw: () => number): void {
  const seen = new Set<number>();
  for (let i = 0; i < ids.length; ) {
    const id = draw();
    if (seen.has(id)) continue;
    seen.add(id);
    ids[i++] = id;
  }
}

/** Numbers in [0, 1) that a seed decides: mulberry32. */
export function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

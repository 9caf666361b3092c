import type { ClickHouse } from "@mistral-sae/clickhouse";
import { dropIndexRows } from "../store/table-facts.ts";
import { INVERTED_TABLES, T } from "../store/tables.ts";

/** A feature that fires on a smaller share of a token's occurrences is about something else, however surprising that one is. */
export const LEAST_SHARE = 0.02;

/**
 * Fills the tables that lead from tokens to features: `token_features` from the tokens that each feature of an index fires on
 * most, `logit_features` from those that it promotes and suppresses. What is there of the index is replaced.
 */
export async function invertTokens(clickhouse: ClickHouse, indexId: number, signal?: AbortSignal): Promise<void> {
  await dropIndexRows(clickhouse, indexId, INVERTED_TABLES);
  const options = { ...(signal === undefined ? {} : { signal }), settings: { max_threads: 1 } };
  await clickhouse.command(
    `INSERT INTO ${T.tokenFeatures} (index_id, token_id, feature_index, pmi, strength)
     WITH (SELECT sum(n) FROM ${T.tokenCounts} WHERE index_id = {indexId:UInt32}) AS total
     SELECT {indexId:UInt32}, token_id, feature_index, log(n * total / (n_firings_sampled * occurrences)), activation / greatest(max_activation * occurrences, 1e-30)
     FROM (SELECT feature_index, n_firings_sampled, max_activation, token_id, n, activation FROM ${T.features} ARRAY JOIN top_token_ids AS token_id, top_token_n AS n, top_token_sum AS activation WHERE index_id = {indexId:UInt32}) AS f
     INNER JOIN (SELECT token_id, n AS occurrences FROM ${T.tokenCounts} WHERE index_id = {indexId:UInt32}) AS c USING token_id
     WHERE n >= greatest(1, {leastShare:Float64} * occurrences)`,
    { indexId, leastShare: LEAST_SHARE },
    options,
  );
  for (const [negative, side] of [[0, "pos"], [1, "neg"]] as const) {
    await clickhouse.command(
      `INSERT INTO ${T.logitFeatures} (index_id, negative, token_id, feature_index, logit)
       SELECT {indexId:UInt32}, {negative:UInt8}, token_id, feature_index, logit
       FROM ${T.features} ARRAY JOIN ${side}_token_ids AS token_id, ${side}_logits AS logit WHERE index_id = {indexId:UInt32}`,
      { indexId, negative },
      options,
    );
  }
}

import type { ClickHouse } from "@mistral-sae/clickhouse";
import type { IndexRecord } from "../catalogue/records.ts";
import { T } from "../store/tables.ts";
import { countedTokens } from "./resolve-index.ts";

/** How differently a feature fires on two corpora. */
export interface CorpusDifference {
  readonly feature: number;
  /** Shares of the counted tokens on which it fires. */
  readonly fracNonzeroA: number;
  readonly fracNonzeroB: number;
  /** Means over its firings; 0 without any. */
  readonly meanActivationA: number;
  readonly meanActivationB: number;
  readonly logRatio: number;
  readonly zScore: number;
}

/** Which differences are wanted. */
export interface DifferencePage {
  /** Features with fewer firings on both are left out. */
  readonly minFirings: bigint;
  readonly offset: number;
  readonly limit: number;
}

/**
 * Features by how differently they fire over two corpora, the largest |z| first, then by number.
 *
 * With n firings on N counted tokens of each corpus, half a firing added to both counts,
 *   log_ratio = ln((n_a + 1/2) / (N_a + 1/2)) - ln((n_b + 1/2) / (N_b + 1/2))
 *   variance  = 1/(n_a + 1/2) - 1/(N_a + 1/2) + 1/(n_b + 1/2) - 1/(N_b + 1/2)
 *   z         = log_ratio / sqrt(variance),
 * the bias-corrected logarithm of a risk ratio and its standard error: Pettigrew, Gart and Thomas, "The bias and higher
 * cumulants of the logarithm of a binomial variate", Biometrika 73 (1986), 425-435. It takes tokens for independent; firings
 * come in runs, so z ranks features and is no test of significance.
 */
export async function compareCorpora(clickhouse: ClickHouse, a: IndexRecord, b: IndexRecord, page: DifferencePage, signal: AbortSignal): Promise<CorpusDifference[]> {
  const side = (index: "a" | "b") => `(SELECT feature_index, n_firings, sum_activation FROM ${T.features} WHERE index_id = {index_${index}:UInt32}) AS ${index}`;
  return await clickhouse.rows<CorpusDifference>(
    `WITH {tokens_a:Float64} AS tokens_a, {tokens_b:Float64} AS tokens_b,
       log((a.n_firings + 0.5) / (tokens_a + 0.5)) - log((b.n_firings + 0.5) / (tokens_b + 0.5)) AS log_ratio,
       1 / (a.n_firings + 0.5) - 1 / (tokens_a + 0.5) + 1 / (b.n_firings + 0.5) - 1 / (tokens_b + 0.5) AS variance
     SELECT a.feature_index AS feature,
       a.n_firings / greatest(1, tokens_a) AS fracNonzeroA, b.n_firings / greatest(1, tokens_b) AS fracNonzeroB,
       if(a.n_firings = 0, 0, a.sum_activation / a.n_firings) AS meanActivationA, if(b.n_firings = 0, 0, b.sum_activation / b.n_firings) AS meanActivationB,
       log_ratio AS logRatio, if(variance > 0, log_ratio / sqrt(variance), 0) AS zScore
     FROM ${side("a")} INNER JOIN ${side("b")} ON b.feature_index = a.feature_index
     WHERE a.n_firings >= {min:UInt64} OR b.n_firings >= {min:UInt64}
     ORDER BY abs(zScore) DESC, feature LIMIT {limit:UInt32} OFFSET {offset:UInt64}`,
    { index_a: a.indexId, index_b: b.indexId, tokens_a: countedTokens(a), tokens_b: countedTokens(b), min: String(page.minFirings), limit: page.limit, offset: page.offset },
    { signal },
  );
}

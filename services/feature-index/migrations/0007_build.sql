-- More that building finds out of each feature, and features by token.

-- Firings by the position of their token in the window, evenly spaced bins; empty in indexes built before it was counted.
ALTER TABLE {{tables}}.staged_stats {{on_cluster}} ADD COLUMN IF NOT EXISTS position_counts Array(UInt32);
ALTER TABLE {{tables}}.features {{on_cluster}} ADD COLUMN IF NOT EXISTS position_counts Array(UInt32) CODEC(T64, ZSTD(1));

-- Features whose encoder rows point the same way; empty in indexes built before they were compared.
ALTER TABLE {{tables}}.staged_weights {{on_cluster}} ADD COLUMN IF NOT EXISTS encoder_nearest Array(UInt32);
ALTER TABLE {{tables}}.staged_weights {{on_cluster}} ADD COLUMN IF NOT EXISTS encoder_nearest_cosine Array(Float32);
ALTER TABLE {{tables}}.features {{on_cluster}} ADD COLUMN IF NOT EXISTS encoder_nearest Array(UInt32) CODEC(ZSTD(1));
ALTER TABLE {{tables}}.features {{on_cluster}} ADD COLUMN IF NOT EXISTS encoder_nearest_cosine Array(Float32) CODEC(ZSTD(1));

-- A tenth less than ZSTD alone.
ALTER TABLE {{tables}}.feature_examples {{on_cluster}} MODIFY COLUMN sequence_id UInt32 CODEC(T64, ZSTD(1));
ALTER TABLE {{tables}}.feature_examples {{on_cluster}} MODIFY COLUMN token_index UInt16 CODEC(T64, ZSTD(1));
ALTER TABLE {{tables}}.feature_examples {{on_cluster}} MODIFY COLUMN pos Array(UInt16) CODEC(Delta, ZSTD(1));

-- Tokens on which a feature came closest to firing and did not: of a topk SAE it ranked just below the k-th place, of an SAE
-- with thresholds it stayed just below its own. None of a standard SAE, nor of indexes built before they were kept.
CREATE TABLE IF NOT EXISTS {{tables}}.near_misses {{on_cluster}} (
  index_id UInt32,
  feature_index UInt32 CODEC(Delta, ZSTD(1)),
  -- By the share of the threshold that was reached, the largest first; one a document.
  rank UInt16 CODEC(ZSTD(1)),
  sequence_id UInt32 CODEC(T64, ZSTD(1)),
  token_index UInt16 CODEC(T64, ZSTD(1)),
  -- Its pre-activation, and what it fell short of: the token's k-th largest, or the feature's threshold.
  pre_activation Float32 CODEC(ZSTD(1)),
  threshold Float32 CODEC(ZSTD(1))
) ENGINE = {{replicated}}MergeTree PARTITION BY index_id ORDER BY (index_id, feature_index, rank)
SETTINGS index_granularity = 256, non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1;

-- Those of the tokens that were looked at, until building has chosen among them.
CREATE TABLE IF NOT EXISTS {{tables}}.staged_near_misses {{on_cluster}} (
  index_id UInt32,
  feature_index UInt32 CODEC(Delta, ZSTD(1)),
  sequence_id UInt32 CODEC(Delta, ZSTD(1)),
  token_index UInt16 CODEC(ZSTD(1)),
  pre_activation Float32 CODEC(ZSTD(1)),
  threshold Float32 CODEC(ZSTD(1))
) ENGINE = {{replicated}}MergeTree PARTITION BY index_id ORDER BY (index_id, feature_index, sequence_id, token_index)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1;

-- features.top_token_ids the other way round: the features that fire on a token, those that do on at least 2% of its occurrences.
-- Dropped first, so that a migration that was cut off begins anew.
DROP TABLE IF EXISTS {{tables}}.token_features {{on_cluster}};
CREATE TABLE IF NOT EXISTS {{tables}}.token_features {{on_cluster}} (
  index_id UInt32,
  token_id UInt32 CODEC(Delta, ZSTD(1)),
  feature_index UInt32 CODEC(Delta, ZSTD(1)),
  -- Pointwise mutual information of token and feature, in nats, over the text whose tokens were counted.
  pmi Float32 CODEC(ZSTD(1)),
  -- Mean activation over all of the token's occurrences against the feature's largest, 0 to 1.
  strength Float32 CODEC(ZSTD(1))
) ENGINE = {{replicated}}MergeTree PARTITION BY index_id ORDER BY (index_id, token_id, feature_index)
SETTINGS index_granularity = 1024;

-- features.pos_token_ids and neg_token_ids the other way round: the features that promote or suppress a token.
DROP TABLE IF EXISTS {{tables}}.logit_features {{on_cluster}};
CREATE TABLE IF NOT EXISTS {{tables}}.logit_features {{on_cluster}} (
  index_id UInt32,
  -- 1 for tokens that the feature suppresses.
  negative UInt8 CODEC(ZSTD(1)),
  token_id UInt32 CODEC(Delta, ZSTD(1)),
  feature_index UInt32 CODEC(Delta, ZSTD(1)),
  logit Float32 CODEC(ZSTD(1))
) ENGINE = {{replicated}}MergeTree PARTITION BY index_id ORDER BY (index_id, negative, token_id, feature_index)
SETTINGS index_granularity = 1024;

-- Indexes that are there already; those that are being built get theirs when they are done.
INSERT INTO {{tables}}.token_features (index_id, token_id, feature_index, pmi, strength)
WITH log(n * total / (n_firings_sampled * occurrences)) AS pmi
SELECT f.index_id AS index_id, token_id, feature_index, pmi, activation / greatest(max_activation * occurrences, 1e-30)
FROM (SELECT index_id, feature_index, n_firings_sampled, max_activation, token_id, n, activation FROM {{tables}}.features ARRAY JOIN top_token_ids AS token_id, top_token_n AS n, top_token_sum AS activation) AS f
INNER JOIN (SELECT index_id, token_id, n AS occurrences, sum(n) OVER (PARTITION BY index_id) AS total FROM {{tables}}.token_counts) AS c USING (index_id, token_id)
WHERE n >= greatest(1, 0.02 * occurrences)
SETTINGS max_threads = 1;

INSERT INTO {{tables}}.logit_features (index_id, negative, token_id, feature_index, logit)
SELECT index_id, negative, token_id, feature_index, logit
FROM {{tables}}.features
ARRAY JOIN arrayConcat(pos_token_ids, neg_token_ids) AS token_id, arrayConcat(pos_logits, neg_logits) AS logit, arrayConcat(arrayWithConstant(length(pos_token_ids), 0), arrayWithConstant(length(neg_token_ids), 1)) AS negative
SETTINGS max_threads = 1;

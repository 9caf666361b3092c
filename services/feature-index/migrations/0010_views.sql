-- What SQL users see, told column by column: DESCRIBE gives the comments. Names of indexes and corpora come from the partition, which
-- is known before anything is read: a condition on index_name or corpus leaves the other indexes' parts alone, and one on
-- feature_index reads the granules of that feature.

CREATE OR REPLACE VIEW {{views}}.activations {{on_cluster}} (
  index_id UInt32 COMMENT 'Number of the index',
  index_name String COMMENT 'indexes/{index}; narrows what is read',
  sae String COMMENT 'models/{model}/saes/{sae}',
  corpus String COMMENT 'corpora/{corpus}; with sequence_id the key of sequences',
  feature_index UInt32 COMMENT 'Row of W_dec; narrows what is read',
  context_size UInt32 COMMENT 'Most tokens of a sequence',
  sequence_id UInt32 COMMENT 'Sequence of the corpus',
  token_index UInt16 COMMENT 'Position in the sequence, from 0, BOS counted',
  is_special UInt8 COMMENT '1 on special tokens, which statistics leave out by default',
  activation Float32 COMMENT 'Value of the feature there, above 0; bfloat16 as stored, or as an import gave it'
) DEFINER = {{owner}} SQL SECURITY DEFINER AS
WITH
  (SELECT (groupArray(toString(index_id)), groupArray(index_name), groupArray(sae), groupArray(corpus), groupArray(context_size)) FROM {{tables}}.index_names FINAL WHERE deleted = 0) AS names
SELECT
  index_id,
  transform(_partition_id, names.1, names.2, '') AS index_name,
  transform(_partition_id, names.1, names.3, '') AS sae,
  transform(_partition_id, names.1, names.4, '') AS corpus,
  feature_index,
  transform(_partition_id, names.1, names.5, toUInt32(1)) AS context_size,
  toUInt32(block * intDiv(65536, context_size) + intDiv(p, context_size)) AS sequence_id,
  toUInt16(p % context_size) AS token_index,
  is_special = 1 AS is_special,
  a AS activation
FROM {{tables}}.postings ARRAY JOIN pos AS p, if(empty(acts_f32), CAST(acts, 'Array(Float32)'), acts_f32) AS a
WHERE has(names.1, _partition_id)
COMMENT 'Every activation of every index, one row each';

CREATE OR REPLACE VIEW {{views}}.features {{on_cluster}} (
  index_id UInt32 COMMENT 'Number of the index',
  index_name String COMMENT 'indexes/{index}; narrows what is read',
  sae String COMMENT 'models/{model}/saes/{sae}',
  corpus String COMMENT 'corpora/{corpus}',
  feature_index UInt32 COMMENT 'Row of W_dec',
  n_firings Nullable(UInt64) COMMENT 'Tokens on which it fires, special ones left out unless the index counts them; NULL where an import did not tell',
  frac_nonzero Nullable(Float64) COMMENT 'Share of the counted tokens on which it fires; NULL where an import did not tell',
  max_activation Float32 COMMENT 'Largest activation',
  mean_activation Nullable(Float64) COMMENT 'Mean over its firings, 0 without any; NULL for imports',
  dead UInt8 COMMENT '1 where it never fires',
  w_dec_norm Nullable(Float32) COMMENT 'Length of its row of W_dec; NULL for imports',
  top_tokens Array(String) COMMENT 'Tokens with the largest sums of activations, the largest first',
  pos_tokens Array(String) COMMENT 'Tokens whose logits it raises most',
  neg_tokens Array(String) COMMENT 'Tokens whose logits it lowers most',
  nearest Array(UInt32) COMMENT 'Features whose rows of W_dec point the same way, the nearest first',
  n_firings_by_source Map(LowCardinality(String), UInt64) COMMENT 'Firings by the source of the document',
  description String COMMENT 'Its best explanation; empty without any',
  score Nullable(Float64) COMMENT 'Best score of its explanations; NULL without any',
  imported UInt8 COMMENT '1 where another program measured it'
) DEFINER = {{owner}} SQL SECURITY DEFINER AS
WITH
  (SELECT (groupArray(toString(index_id)), groupArray(index_name), groupArray(sae), groupArray(corpus), groupArray(sae_id),
    groupArray(greatest(1, n_tokens - if(include_special_tokens = 1, 0, n_special_tokens)))) FROM {{tables}}.index_names FINAL WHERE deleted = 0) AS names,
  best AS (SELECT sae_id, feature_index, argMax(description, (ifNull(score, -1), explanation_model != '', name)) AS description, max(score) AS best_score
    FROM {{tables}}.explanations FINAL GROUP BY sae_id, feature_index)
SELECT
  f.index_id AS index_id,
  transform(f._partition_id, names.1, names.2, '') AS index_name,
  transform(f._partition_id, names.1, names.3, '') AS sae,
  transform(f._partition_id, names.1, names.4, '') AS corpus,
  f.feature_index AS feature_index,
  if(f.imported = 1, NULL, f.n_firings) AS n_firings,
  if(f.imported = 1, f.given_frac_nonzero, f.n_firings / transform(f._partition_id, names.1, names.6, 1)) AS frac_nonzero,
  f.max_activation AS max_activation,
  multiIf(f.imported = 1, NULL, f.n_firings = 0, 0, f.sum_activation / f.n_firings) AS mean_activation,
  f.imported = 0 AND f.n_firings = 0 AS dead,
  if(f.imported = 1, NULL, f.w_dec_norm) AS w_dec_norm,
  f.top_tokens AS top_tokens,
  f.pos_tokens AS pos_tokens,
  f.neg_tokens AS neg_tokens,
  f.nearest AS nearest,
  mapFromArrays(f.sources, f.source_n) AS n_firings_by_source,
  b.description AS description,
  b.best_score AS score,
  f.imported AS imported
FROM {{tables}}.features AS f
LEFT JOIN best AS b ON b.sae_id = transform(f._partition_id, names.1, names.5, toUInt32(0)) AND b.feature_index = f.feature_index
WHERE has(names.1, f._partition_id)
COMMENT 'One row a feature and index, dead features among them';

CREATE OR REPLACE VIEW {{views}}.examples {{on_cluster}} (
  index_name String COMMENT 'indexes/{index}; narrows what is read',
  sae String COMMENT 'models/{model}/saes/{sae}',
  corpus String COMMENT 'corpora/{corpus}; with sequence_id the key of sequences',
  feature_index UInt32 COMMENT 'Row of W_dec; narrows what is read',
  stratum UInt8 COMMENT '0: the largest activations, one a document. From 1: evenly spaced ranks of that stratum, the strongest stratum first',
  rank UInt16 COMMENT 'Place within the stratum, from 0',
  sequence_id UInt32 COMMENT 'Sequence of the corpus',
  token_index UInt16 COMMENT 'Position for which it was chosen, BOS counted',
  activation Float32 COMMENT 'Activation there',
  positions Array(UInt16) COMMENT 'All positions of the sequence where the feature fires',
  activations Array(Float32) COMMENT 'Activations at these positions'
) DEFINER = {{owner}} SQL SECURITY DEFINER AS
WITH
  (SELECT (groupArray(toString(index_id)), groupArray(index_name), groupArray(sae), groupArray(corpus)) FROM {{tables}}.index_names FINAL WHERE deleted = 0) AS names
SELECT
  transform(_partition_id, names.1, names.2, '') AS index_name,
  transform(_partition_id, names.1, names.3, '') AS sae,
  transform(_partition_id, names.1, names.4, '') AS corpus,
  feature_index, stratum, rank, sequence_id, token_index, activation,
  pos AS positions,
  if(empty(acts_f32), CAST(acts, 'Array(Float32)'), acts_f32) AS activations
FROM {{tables}}.feature_examples
WHERE has(names.1, _partition_id)
COMMENT 'The sequences that feature pages show';

CREATE OR REPLACE VIEW {{views}}.documents {{on_cluster}} (
  corpus String COMMENT 'corpora/{corpus}; narrows what is read',
  doc_id UInt32 COMMENT 'Ordinal in the corpus; narrows what is read',
  source LowCardinality(String) COMMENT 'Source that the record named; empty without one',
  file_name LowCardinality(String) COMMENT 'File that it was read from',
  line UInt32 COMMENT 'Line or record of that file where it starts',
  held_back UInt8 COMMENT '1 where training never saw it',
  sequence_start UInt32 COMMENT 'First of its sequences',
  n_sequences UInt32 COMMENT 'How many sequences it has, one after the other',
  n_tokens UInt32 COMMENT 'Tokens, special ones left out',
  text String COMMENT 'The text',
  metadata String COMMENT 'Other fields of its record as one JSON object, for JSONExtract…; empty where the corpus keeps none'
) DEFINER = {{owner}} SQL SECURITY DEFINER AS
WITH (SELECT (groupArray(toString(corpus_id)), groupArray(corpus)) FROM {{tables}}.corpus_names FINAL WHERE deleted = 0) AS names
SELECT transform(_partition_id, names.1, names.2, '') AS corpus, doc_id, source, file_name, line, held_back = 1 AS held_back, sequence_start, n_sequences, n_tokens, text, metadata
FROM {{tables}}.documents
WHERE has(names.1, _partition_id)
COMMENT 'The texts of every corpus';

CREATE OR REPLACE VIEW {{views}}.sequences {{on_cluster}} (
  corpus String COMMENT 'corpora/{corpus}; narrows what is read',
  sequence_id UInt32 COMMENT 'Ordinal in the corpus; narrows what is read',
  doc_id UInt32 COMMENT 'Document that it is cut from',
  source LowCardinality(String) COMMENT 'Source of the document',
  token_start UInt32 COMMENT 'Position of its first token within the document, special tokens not counted',
  token_ids Array(UInt32) COMMENT 'Ids as the model reads them, BOS included',
  special_positions Array(UInt16) COMMENT 'Positions of special tokens among them'
) DEFINER = {{owner}} SQL SECURITY DEFINER AS
WITH (SELECT (groupArray(toString(corpus_id)), groupArray(corpus)) FROM {{tables}}.corpus_names FINAL WHERE deleted = 0) AS names
SELECT transform(_partition_id, names.1, names.2, '') AS corpus, sequence_id, doc_id, source, token_start, tokens AS token_ids, special AS special_positions
FROM {{tables}}.sequences
WHERE has(names.1, _partition_id)
COMMENT 'The windows of tokens that the model reads';

CREATE OR REPLACE VIEW {{views}}.indexes {{on_cluster}} (
  index_id UInt32 COMMENT 'Number of the index',
  index_name String COMMENT 'indexes/{index}',
  sae String COMMENT 'models/{model}/saes/{sae}',
  corpus String COMMENT 'corpora/{corpus}',
  model String COMMENT 'models/{model} whose tokenizer cut the corpus',
  d_sae UInt32 COMMENT 'Features of the SAE',
  context_size UInt32 COMMENT 'Most tokens of a sequence',
  n_tokens UInt64 COMMENT 'Tokens indexed, special ones included',
  n_special_tokens UInt64 COMMENT 'Special ones among them',
  include_special_tokens UInt8 COMMENT '1 where statistics count special tokens too'
) DEFINER = {{owner}} SQL SECURITY DEFINER AS
SELECT index_id, index_name, sae, corpus, model, d_sae, context_size, n_tokens, n_special_tokens, include_special_tokens = 1 AS include_special_tokens
FROM {{tables}}.index_names FINAL WHERE deleted = 0 ORDER BY index_id
COMMENT 'One row an SAE over a corpus';

CREATE OR REPLACE VIEW {{views}}.tokens {{on_cluster}} (
  index_name String COMMENT 'indexes/{index}',
  token_id UInt32 COMMENT 'Id in the vocabulary',
  str_token String COMMENT 'Its text',
  n UInt64 COMMENT 'How often it stands in the sampled part of the indexed text, special positions left out'
) DEFINER = {{owner}} SQL SECURITY DEFINER AS
SELECT i.index_name AS index_name, v.token_id AS token_id, v.str_token AS str_token, c.n AS n
FROM (SELECT index_id, index_name, vocabulary_id FROM {{tables}}.index_names FINAL WHERE deleted = 0) AS i
INNER JOIN (SELECT vocabulary_id, token_id, str_token FROM {{tables}}.vocabularies FINAL) AS v ON v.vocabulary_id = i.vocabulary_id
LEFT JOIN {{tables}}.token_counts AS c ON c.index_id = i.index_id AND c.token_id = v.token_id
COMMENT 'The vocabulary of each index';

CREATE OR REPLACE VIEW {{views}}.explanations {{on_cluster}} (
  sae String COMMENT 'models/{model}/saes/{sae}',
  feature_index UInt32 COMMENT 'Row of W_dec',
  name String COMMENT '{feature}/explanations/{explanation}',
  description String COMMENT 'The explanation',
  explanation_type LowCardinality(String) COMMENT 'Method that wrote it',
  explanation_model LowCardinality(String) COMMENT 'Model that wrote it; empty for a local summary',
  score Nullable(Float64) COMMENT 'Best score it got; NULL without any'
) DEFINER = {{owner}} SQL SECURITY DEFINER AS
SELECT s.sae AS sae, e.feature_index AS feature_index, e.name AS name, e.description AS description, e.explanation_type AS explanation_type,
  e.explanation_model AS explanation_model, e.score AS score
FROM {{tables}}.explanations AS e FINAL
INNER JOIN (SELECT DISTINCT sae_id, sae FROM {{tables}}.index_names FINAL WHERE deleted = 0) AS s ON s.sae_id = e.sae_id
COMMENT 'Every explanation of every feature';

CREATE OR REPLACE VIEW {{views}}.training_metrics {{on_cluster}} (
  training_run LowCardinality(String) COMMENT 'trainingRuns/{run}',
  step UInt64 COMMENT 'Step of training, from 1',
  n_training_tokens UInt64 COMMENT 'Tokens seen so far',
  loss Float64 COMMENT 'Whole loss',
  mse_loss Float64 COMMENT 'Its reconstruction part',
  aux_loss Float64 COMMENT 'Its part for dead features',
  sparsity_loss Float64 COMMENT 'Its sparsity part',
  fvu Float64 COMMENT 'Fraction of variance unexplained',
  l0 Float64 COMMENT 'Features that fire on a token, mean',
  dead_fraction Float64 COMMENT 'Share of dead features',
  grad_norm Float64 COMMENT 'Norm of the gradient',
  lr Float64 COMMENT 'Learning rate',
  tokens_per_second Float64 COMMENT 'Speed',
  buffer_wait_share Float64 COMMENT 'Share of the time that training waited for activations',
  recorded_at DateTime64(3) COMMENT 'When the row was received'
) DEFINER = {{owner}} SQL SECURITY DEFINER AS
SELECT training_run, step, n_training_tokens, loss, mse_loss, aux_loss, sparsity_loss, fvu, l0, dead_fraction, grad_norm, lr,
  tokens_per_second, buffer_wait_share, fromUnixTimestamp64Milli(toInt64(version)) AS recorded_at
FROM {{tables}}.training_metrics FINAL ORDER BY training_run, step
COMMENT 'How training runs go, one row a step that was kept';

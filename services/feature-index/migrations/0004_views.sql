-- What SQL users see: friendly names, and nothing else. A view reads the tables as the owner who made it.

CREATE TABLE IF NOT EXISTS {{tables}}.index_names {{on_cluster}} (
  index_id UInt32,
  index_name String,
  sae String,
  corpus String,
  model String,
  sae_id UInt32,
  corpus_id UInt32,
  vocabulary_id UInt32,
  d_sae UInt32,
  context_size UInt32,
  n_tokens UInt64,
  n_special_tokens UInt64,
  include_special_tokens UInt8,
  -- 1 once it was deleted.
  deleted UInt8,
  version UInt64
) ENGINE = {{replicated}}ReplacingMergeTree(version) ORDER BY index_id;

CREATE TABLE IF NOT EXISTS {{tables}}.corpus_names {{on_cluster}} (
  corpus_id UInt32,
  corpus String,
  deleted UInt8,
  version UInt64
) ENGINE = {{replicated}}ReplacingMergeTree(version) ORDER BY corpus_id;

CREATE OR REPLACE VIEW {{views}}.indexes {{on_cluster}} DEFINER = {{owner}} SQL SECURITY DEFINER AS
SELECT index_id, index_name, sae, corpus, model, d_sae, context_size, n_tokens, n_special_tokens, include_special_tokens = 1 AS include_special_tokens
FROM {{tables}}.index_names FINAL WHERE deleted = 0 ORDER BY index_id;

CREATE OR REPLACE VIEW {{views}}.activations {{on_cluster}} DEFINER = {{owner}} SQL SECURITY DEFINER AS
WITH
  (SELECT (groupArray(index_id), groupArray(index_name), groupArray(sae), groupArray(corpus), groupArray(context_size)) FROM {{tables}}.index_names FINAL WHERE deleted = 0) AS names
SELECT
  index_id,
  transform(index_id, names.1, names.2, '') AS index_name,
  transform(index_id, names.1, names.3, '') AS sae,
  transform(index_id, names.1, names.4, '') AS corpus,
  feature_index,
  transform(index_id, names.1, names.5, toUInt32(1)) AS context_size,
  toUInt32(block * intDiv(65536, context_size) + intDiv(p, context_size)) AS sequence_id,
  toUInt16(p % context_size) AS token_index,
  is_special = 1 AS is_special,
  toFloat32(a) AS activation
FROM {{tables}}.postings ARRAY JOIN pos AS p, acts AS a
WHERE index_id IN (SELECT index_id FROM {{tables}}.index_names FINAL WHERE deleted = 0);

CREATE OR REPLACE VIEW {{views}}.documents {{on_cluster}} DEFINER = {{owner}} SQL SECURITY DEFINER AS
WITH (SELECT (groupArray(corpus_id), groupArray(corpus)) FROM {{tables}}.corpus_names FINAL WHERE deleted = 0) AS names
SELECT transform(corpus_id, names.1, names.2, '') AS corpus, doc_id, source, file_name, line, held_back = 1 AS held_back, sequence_start, n_sequences, n_tokens, text
FROM {{tables}}.documents
WHERE corpus_id IN (SELECT corpus_id FROM {{tables}}.corpus_names FINAL WHERE deleted = 0);

CREATE OR REPLACE VIEW {{views}}.sequences {{on_cluster}} DEFINER = {{owner}} SQL SECURITY DEFINER AS
WITH (SELECT (groupArray(corpus_id), groupArray(corpus)) FROM {{tables}}.corpus_names FINAL WHERE deleted = 0) AS names
SELECT transform(corpus_id, names.1, names.2, '') AS corpus, sequence_id, doc_id, source, token_start, tokens AS token_ids
FROM {{tables}}.sequences
WHERE corpus_id IN (SELECT corpus_id FROM {{tables}}.corpus_names FINAL WHERE deleted = 0);

CREATE OR REPLACE VIEW {{views}}.tokens {{on_cluster}} DEFINER = {{owner}} SQL SECURITY DEFINER AS
SELECT i.index_name AS index_name, v.token_id AS token_id, v.str_token AS str_token, c.n AS n
FROM (SELECT index_id, index_name, vocabulary_id FROM {{tables}}.index_names FINAL WHERE deleted = 0) AS i
INNER JOIN (SELECT vocabulary_id, token_id, str_token FROM {{tables}}.vocabularies FINAL) AS v ON v.vocabulary_id = i.vocabulary_id
LEFT JOIN {{tables}}.token_counts AS c ON c.index_id = i.index_id AND c.token_id = v.token_id;

CREATE OR REPLACE VIEW {{views}}.explanations {{on_cluster}} DEFINER = {{owner}} SQL SECURITY DEFINER AS
SELECT s.sae AS sae, e.feature_index AS feature_index, e.name AS name, e.description AS description, e.explanation_type AS explanation_type,
  e.explanation_model AS explanation_model, e.score AS score
FROM {{tables}}.explanations AS e FINAL
INNER JOIN (SELECT DISTINCT sae_id, sae FROM {{tables}}.index_names FINAL WHERE deleted = 0) AS s ON s.sae_id = e.sae_id;

CREATE OR REPLACE VIEW {{views}}.features {{on_cluster}} DEFINER = {{owner}} SQL SECURITY DEFINER AS
WITH
  best AS (SELECT sae_id, feature_index, argMax(description, (ifNull(score, -1), explanation_model != '', name)) AS description, max(score) AS best_score
    FROM {{tables}}.explanations FINAL GROUP BY sae_id, feature_index)
SELECT
  f.index_id AS index_id, i.index_name AS index_name, i.sae AS sae, i.corpus AS corpus, f.feature_index AS feature_index,
  f.n_firings AS n_firings,
  f.n_firings / greatest(1, i.n_tokens - if(i.include_special_tokens = 1, 0, i.n_special_tokens)) AS frac_nonzero,
  f.max_activation AS max_activation,
  if(f.n_firings = 0, 0, f.sum_activation / f.n_firings) AS mean_activation,
  f.n_firings = 0 AS dead,
  f.w_dec_norm AS w_dec_norm,
  f.top_tokens AS top_tokens,
  f.pos_tokens AS pos_tokens,
  f.neg_tokens AS neg_tokens,
  f.nearest AS nearest,
  mapFromArrays(f.sources, f.source_n) AS n_firings_by_source,
  b.description AS description,
  b.best_score AS score
FROM {{tables}}.features AS f
INNER JOIN (SELECT * FROM {{tables}}.index_names FINAL WHERE deleted = 0) AS i ON i.index_id = f.index_id
LEFT JOIN best AS b ON b.sae_id = i.sae_id AND b.feature_index = f.feature_index;

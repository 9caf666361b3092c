-- The largest activations of a feature with the ten tokens before and after. index: indexes/{index}.
WITH top AS (
  SELECT corpus, sequence_id, token_index, activation
  FROM activations WHERE index_name = {index:String} AND feature_index = {feature:UInt32} AND NOT is_special
  ORDER BY activation DESC, sequence_id, token_index LIMIT {limit:UInt16}
), windows AS (
  SELECT corpus, sequence_id, doc_id, source, token_ids FROM sequences
  WHERE corpus = (SELECT corpus FROM indexes WHERE index_name = {index:String}) AND sequence_id IN (SELECT sequence_id FROM top)
), slices AS (
  SELECT t.activation AS activation, t.sequence_id AS sequence_id, t.token_index AS token_index, w.doc_id AS doc_id, w.source AS source,
    greatest(1, t.token_index - 9) AS first, arraySlice(w.token_ids, first, t.token_index + 12 - first) AS ids
  FROM top AS t INNER JOIN windows AS w ON w.corpus = t.corpus AND w.sequence_id = t.sequence_id
), around AS (
  SELECT activation, sequence_id, token_index, doc_id, source, place, token_id FROM slices ARRAY JOIN ids AS token_id, arrayEnumerate(ids) AS place
)
SELECT activation, doc_id, any(source) AS source, sequence_id, token_index,
  arrayStringConcat(arrayMap(x -> x.2, arraySort(groupArray((place, str_token))))) AS context
FROM around AS a INNER JOIN (SELECT token_id, str_token FROM tokens WHERE index_name = {index:String}) AS v ON v.token_id = a.token_id
GROUP BY activation, doc_id, sequence_id, token_index ORDER BY activation DESC, sequence_id, token_index

-- Documents on which a feature fires most, by the sum of its activations. index: indexes/{index}.
WITH fired AS (
  SELECT corpus, sequence_id, sum(activation) AS total, max(activation) AS largest, count() AS n
  FROM activations WHERE index_name = {index:String} AND feature_index = {feature:UInt32} AND NOT is_special
  GROUP BY corpus, sequence_id
), places AS (
  SELECT corpus, sequence_id, doc_id FROM sequences
  WHERE corpus = (SELECT corpus FROM indexes WHERE index_name = {index:String}) AND sequence_id IN (SELECT sequence_id FROM fired)
), best AS (
  SELECT p.corpus AS corpus, p.doc_id AS doc_id, sum(f.total) AS activation, max(f.largest) AS max_activation, sum(f.n) AS n_firings
  FROM fired AS f INNER JOIN places AS p ON p.corpus = f.corpus AND p.sequence_id = f.sequence_id
  GROUP BY corpus, doc_id ORDER BY activation DESC, doc_id LIMIT 50
)
SELECT d.doc_id AS doc_id, b.activation AS activation, b.max_activation AS max_activation, b.n_firings AS n_firings, d.source AS source, d.metadata AS metadata, substringUTF8(d.text, 1, 200) AS beginning
FROM best AS b INNER JOIN documents AS d ON d.corpus = b.corpus AND d.doc_id = b.doc_id
WHERE d.doc_id IN (SELECT doc_id FROM best) ORDER BY activation DESC, doc_id

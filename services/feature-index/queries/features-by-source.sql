-- Features whose firings come from one source more than from the others. index: indexes/{index}.
SELECT feature_index, source, n, round(n / n_firings, 4) AS share, top_tokens, description
FROM features ARRAY JOIN mapKeys(n_firings_by_source) AS source, mapValues(n_firings_by_source) AS n
WHERE index_name = {index:String} AND n_firings >= 100 ORDER BY share DESC, n DESC LIMIT 200

-- The 50 features that fire most often. index: indexes/{index}.
SELECT feature_index, frac_nonzero, max_activation, top_tokens, description
FROM features WHERE index_name = {index:String} ORDER BY frac_nonzero DESC LIMIT 50

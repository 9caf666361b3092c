-- Features that never fire, with what their weights promote. index: indexes/{index}.
SELECT feature_index, w_dec_norm, pos_tokens
FROM features WHERE index_name = {index:String} AND dead ORDER BY feature_index

SELECT round(activation, 1) AS value, count() AS n
FROM activations WHERE index_id = (SELECT index_id FROM indexes WHERE index_name = {index:String}) AND feature_index = {feature:UInt32} AND NOT is_special
GROUP BY value ORDER BY value

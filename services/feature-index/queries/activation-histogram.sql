-- Activations of a feature, rounded to one decimal, and how often each comes up. index: indexes/{index}.
SELECT round(activation, 1) AS value, count() AS n
FROM activations WHERE index_name = {index:String} AND feature_index = {feature:UInt32} AND NOT is_special
GROUP BY value ORDER BY value

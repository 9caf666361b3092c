-- Density, largest and mean activation of every living feature, for a scatter plot. index: indexes/{index}.
SELECT feature_index, frac_nonzero, max_activation, mean_activation, score
FROM features WHERE index_name = {index:String} AND NOT dead ORDER BY feature_index

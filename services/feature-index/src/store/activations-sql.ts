/** The activations of a row of `postings` or `feature_examples` as Array(Float32): an import's unrounded ones, or our own. */
export const ACTS_F32 = "if(notEmpty(acts_f32), acts_f32, arrayMap(a -> toFloat32(a), acts))";

/** The same with every value as a double, which JSON gives with all its digits. */
export const ACTS_F64 = `arrayMap(a -> toFloat64(a), ${ACTS_F32})`;

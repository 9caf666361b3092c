import type { WeightDType } from "./config.ts";

/** Tensors with their types, from a file of any kind. */
export interface TypedTensors {
  readonly tensors: ReadonlyMap<string, { readonly dtype: string; readonly shape: readonly number[] }>;
}

const OF_TENSOR: Readonly<Record<string, WeightDType>> = { F64: "float32", F32: "float32", BF16: "bfloat16", F16: "float16" };

/** The type that holds every weight of the file as stored (f64 apart, which is held as f32). */
export function dtypeOfTensors(source: TypedTensors): WeightDType {
  const found = new Set<WeightDType>();
  for (const { dtype, shape } of source.tensors.values()) {
    const name = OF_TENSOR[dtype];
    if (name !== undefined && shape.length > 0) found.add(name);
  }
  const [first] = found;
  return first !== undefined && found.size === 1 ? first : "float32";
}

/**
 * The type in which the SAE is to be written again without rounding: the configured one, unless the file is finer.
 * Differences are told in `warnings`.
 */
export function storedDType(source: TypedTensors, configured: WeightDType, warnings: string[]): WeightDType {
  if ([...source.tensors.values()].some(({ dtype, shape }) => dtype === "F64" && shape.length > 0)) warnings.push("64-bit weights are held in 32 bits");
  const stored = dtypeOfTensors(source);
  if (configured === "float32" || configured === stored) return configured;
  warnings.push(`the configuration says ${configured}, the weights are ${stored}: they are used as stored`);
  return stored;
}

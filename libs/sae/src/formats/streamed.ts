import { bytesFromF32, type FloatDType, type StreamedTensor } from "@mistral-sae/tensor";
import type { WeightDType } from "./config.ts";

/** A folder that was written. */
export interface WrittenSae {
  readonly folder: string;
  /** SHA-256 of the weights file. */
  readonly weightsSha256: string;
  /** The cfg.json written, verbatim. */
  readonly cfgJson: string;
}

export const TENSOR_TYPE: Readonly<Record<WeightDType, FloatDType>> = { float32: "F32", float16: "F16", bfloat16: "BF16" };

const PIECE_FLOATS = 1 << 20;

/** A tensor to write as `dtype`, converted a piece at a time. */
export function streamedTensor(values: Float32Array, shape: readonly number[], dtype: FloatDType): StreamedTensor {
  return { dtype, shape, chunks: pieces(values, dtype) };
}

function* pieces(values: Float32Array, dtype: FloatDType): Generator<Uint8Array> {
  for (let start = 0; start < values.length; start += PIECE_FLOATS) yield bytesFromF32(dtype, values.subarray(start, start + PIECE_FLOATS));
}

/** Element types of ONNX tensors, as `TensorProto.DataType` numbers them (onnx-ml.proto). */
export const onnxDataTypes = {
  float32: 1,
  uint8: 2,
  int8: 3,
  int32: 6,
  int64: 7,
  bool: 9,
  float16: 10,
  float64: 11,
  uint32: 12,
  bfloat16: 16,
} as const;

/** Name of an ONNX element type. */
export type OnnxDataType = keyof typeof onnxDataTypes;

/** A dimension: a size, or the name of a size that is known only at run time. */
export type OnnxDim = number | string;

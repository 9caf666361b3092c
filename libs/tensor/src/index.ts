export { aligned, bytesOf, f32View, u16View, u32View } from "./bytes.ts";
export { bf16Bits, bf16FromF32, bytesFromF32, f16FromF32, f32FromBf16, f32FromBytes, f32FromF16 } from "./convert.ts";
export { byteLength, type DType, DTYPE_BYTES, elementCount, type FloatDType, isDType, isFloatDType, type TypedArray } from "./dtype.ts";
export { AtomicFile, atomicWriteFile, sha256File, syncFolder } from "./files.ts";
export { InputError, type InputErrorDetails } from "./input-error.ts";
export { LARGEST_HEADER, parseHeader, type SafetensorsHeader, type TensorEntry } from "./safetensors/header.ts";
export { duplicateKey } from "./safetensors/json-keys.ts";
export {
  type LocatedTensor,
  missingTensor,
  openSafetensors,
  type ReadF32Options,
  type ReadOptions,
  type RowRange,
  SafetensorsFile,
  type TensorSource,
} from "./safetensors/reader.ts";
export { openWeights, Weights } from "./safetensors/weights.ts";
export { type PlannedTensor, SafetensorsWriter, type StreamedTensor, writeSafetensors } from "./safetensors/writer.ts";
export {
  type ActivationDType,
  packSparse,
  pairViews,
  rowBounds,
  type SparseRows,
  unpackPairs,
  unpackSparse,
  WIRE_DTYPE,
  type WireSparseCode,
  type WireSparseCodeInput,
} from "./sparse-code.ts";
export { bf16Tensor, makeTensor, type Tensor, tensorOf, toF32, typedArray } from "./tensor.ts";
export { topK } from "./top-k.ts";

export { Graph, type NodeAttributes } from "./onnx/graph.ts";
export { onnxDataTypes, type OnnxDataType, type OnnxDim } from "./onnx/data-type.ts";
export type { Attribute, ExternalLocation } from "./onnx/wire.ts";
export { CacheFullError } from "./cache-full-error.ts";
export type * from "./engine.ts";
export type * from "./edits/edit.ts";
export type { LoadedSae } from "./sae/loaded-sae.ts";
export { greedy, mostLogprobs, type SamplingParams } from "./sampling/params.ts";

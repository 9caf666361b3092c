export { Graph, type NodeAttributes } from "./onnx/graph.ts";
export { onnxDataTypes, type OnnxDataType, type OnnxDim } from "./onnx/data-type.ts";
export type { Attribute, ExternalLocation } from "./onnx/wire.ts";

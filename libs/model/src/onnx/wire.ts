import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { onnxDataTypes, type OnnxDataType, type OnnxDim } from "./data-type.ts";

/*
 * The part of onnx-ml.proto that a graph writer needs, by field number
 * (https://github.com/onnx/onnx/blob/main/onnx/onnx-ml.proto). Strings and sub-messages are
 * length-delimited; repeated scalars are written unpacked, as proto2 does.
 */

/** An attribute: integers become INT, `{ float }` FLOAT, strings STRING, arrays INTS, a graph's bytes GRAPH. */
export type Attribute = number | string | readonly number[] | { readonly float: number } | { readonly graph: Uint8Array };

const attributeTypes = { float: 1, int: 2, string: 3, graph: 5, ints: 7 } as const;

/** StringStringEntryProto */
function entry(key: string, value: string): Uint8Array {
  return new BinaryWriter().tag(1, WireType.LengthDelimited).string(key).tag(2, WireType.LengthDelimited).string(value).finish();
}

function dims(writer: BinaryWriter, field: number, values: readonly number[]): void {
  for (const value of values) writer.tag(field, WireType.Varint).int64(value);
}

/** TensorProto whose values lie in `rawData`, little-endian and row-major. */
export function encodeRawTensor(name: string, type: OnnxDataType, shape: readonly number[], rawData: Uint8Array): Uint8Array {
  const writer = new BinaryWriter();
  dims(writer, 1, shape);
  writer.tag(2, WireType.Varint).int32(onnxDataTypes[type]);
  writer.tag(8, WireType.LengthDelimited).string(name);
  writer.tag(9, WireType.LengthDelimited).bytes(rawData);
  return writer.finish();
}

/** Where the values of an external tensor lie: a file beside the model, a byte offset and a byte length. */
export interface ExternalLocation {
  readonly file: string;
  readonly offset: number;
  readonly length: number;
}

/** TensorProto whose values stay in another file. */
export function encodeExternalTensor(name: string, type: OnnxDataType, shape: readonly number[], at: ExternalLocation): Uint8Array {
  const writer = new BinaryWriter();
  dims(writer, 1, shape);
  writer.tag(2, WireType.Varint).int32(onnxDataTypes[type]);
  writer.tag(8, WireType.LengthDelimited).string(name);
  writer.tag(13, WireType.LengthDelimited).bytes(entry("location", at.file));
  writer.tag(13, WireType.LengthDelimited).bytes(entry("offset", String(at.offset)));
  writer.tag(13, WireType.LengthDelimited).bytes(entry("length", String(at.length)));
  writer.tag(14, WireType.Varint).int32(1);
  return writer.finish();
}

/** AttributeProto */
function encodeAttribute(name: string, value: Attribute): Uint8Array {
  const writer = new BinaryWriter().tag(1, WireType.LengthDelimited).string(name);
  const type = (of: keyof typeof attributeTypes): Uint8Array => writer.tag(20, WireType.Varint).int32(attributeTypes[of]).finish();
  if (typeof value === "string") {
    writer.tag(4, WireType.LengthDelimited).string(value);
    return type("string");
  }
  if (typeof value === "number") {
    writer.tag(3, WireType.Varint).int64(value);
    return type("int");
  }
  if ("float" in value) {
    writer.tag(2, WireType.Bit32).float(value.float);
    return type("float");
  }
  if ("graph" in value) {
    writer.tag(6, WireType.LengthDelimited).bytes(value.graph);
    return type("graph");
  }
  dims(writer, 8, value);
  return type("ints");
}

/** A node: an operator, its domain ("" is ONNX itself), and the names it reads and writes. */
export interface NodeSpec {
  readonly name: string;
  readonly opType: string;
  readonly domain: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: Readonly<Record<string, Attribute>>;
}

/** NodeProto */
export function encodeNode(node: NodeSpec): Uint8Array {
  const writer = new BinaryWriter();
  for (const input of node.inputs) writer.tag(1, WireType.LengthDelimited).string(input);
  for (const output of node.outputs) writer.tag(2, WireType.LengthDelimited).string(output);
  writer.tag(3, WireType.LengthDelimited).string(node.name);
  writer.tag(4, WireType.LengthDelimited).string(node.opType);
  for (const [name, value] of Object.entries(node.attributes)) writer.tag(5, WireType.LengthDelimited).bytes(encodeAttribute(name, value));
  if (node.domain !== "") writer.tag(7, WireType.LengthDelimited).string(node.domain);
  return writer.finish();
}

/** ValueInfoProto of a tensor. */
export function encodeValueInfo(name: string, type: OnnxDataType, shape: readonly OnnxDim[]): Uint8Array {
  const shapeWriter = new BinaryWriter();
  for (const dim of shape) {
    const dimWriter = new BinaryWriter();
    if (typeof dim === "number") dimWriter.tag(1, WireType.Varint).int64(dim);
    else dimWriter.tag(2, WireType.LengthDelimited).string(dim);
    shapeWriter.tag(1, WireType.LengthDelimited).bytes(dimWriter.finish());
  }
  const tensor = new BinaryWriter().tag(1, WireType.Varint).int32(onnxDataTypes[type]).tag(2, WireType.LengthDelimited).bytes(shapeWriter.finish());
  const typeProto = new BinaryWriter().tag(1, WireType.LengthDelimited).bytes(tensor.finish());
  return new BinaryWriter().tag(1, WireType.LengthDelimited).string(name).tag(2, WireType.LengthDelimited).bytes(typeProto.finish()).finish();
}

/** The encoded members of a graph. */
export interface GraphParts {
  readonly name: string;
  readonly nodes: readonly Uint8Array[];
  readonly initializers: readonly Uint8Array[];
  readonly inputs: readonly Uint8Array[];
  readonly outputs: readonly Uint8Array[];
}

/** GraphProto */
export function encodeGraph(parts: GraphParts): Uint8Array {
  const writer = new BinaryWriter();
  for (const node of parts.nodes) writer.tag(1, WireType.LengthDelimited).bytes(node);
  writer.tag(2, WireType.LengthDelimited).string(parts.name);
  for (const initializer of parts.initializers) writer.tag(5, WireType.LengthDelimited).bytes(initializer);
  for (const input of parts.inputs) writer.tag(11, WireType.LengthDelimited).bytes(input);
  for (const output of parts.outputs) writer.tag(12, WireType.LengthDelimited).bytes(output);
  return writer.finish();
}

/** ModelProto; `opsets` maps an operator domain to its version. */
export function encodeModel(graph: Uint8Array, irVersion: number, opsets: Readonly<Record<string, number>>): Uint8Array {
  const writer = new BinaryWriter().tag(1, WireType.Varint).int64(irVersion).tag(2, WireType.LengthDelimited).string("mistral-sae");
  writer.tag(7, WireType.LengthDelimited).bytes(graph);
  for (const [domain, version] of Object.entries(opsets)) {
    const opset = new BinaryWriter().tag(1, WireType.LengthDelimited).string(domain).tag(2, WireType.Varint).int64(version).finish();
    writer.tag(8, WireType.LengthDelimited).bytes(opset);
  }
  return writer.finish();
}

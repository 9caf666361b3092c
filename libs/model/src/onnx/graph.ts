import type { OnnxDataType, OnnxDim } from "./data-type.ts";
import { encodeExternalTensor, encodeGraph, encodeModel, encodeNode, encodeRawTensor, encodeValueInfo, type Attribute, type ExternalLocation, type NodeSpec } from "./wire.ts";

/** The version of the ONNX format and of the operators that graphs are written for; onnxruntime 1.30 reads both. */
const irVersion = 10;
const opsets = { "": 21, "com.microsoft": 1 } as const;

/** Attributes of a node by name; `{ float }` marks a number as FLOAT, plain numbers are INT. */
export type NodeAttributes = Readonly<Record<string, Attribute>>;

/**
 * Writes an ONNX graph node by node. Every method returns the name of the value that it made, to be given to the
 * next one. Nodes must be added in an order in which each reads only what was made before it. Constants and weights
 * are written once however often they are asked for. A sub-graph needs a name of its own: names of values start with it.
 */
export class Graph {
  readonly name: string;
  readonly #nodes: NodeSpec[] = [];
  readonly #initializers: Uint8Array[] = [];
  readonly #inputs: Uint8Array[] = [];
  readonly #outputs: Uint8Array[] = [];
  readonly #known = new Set<string>();
  readonly #once = new Map<string, string>();
  /** Values that nodes made and that leave the graph under another name. */
  readonly #published = new Map<string, string>();
  readonly #made = new Set<string>();
  #count = 0;

  constructor(name: string) {
    this.name = name;
  }

  /** Adds an operator of ONNX itself with one output. An empty input name leaves an optional input out. */
  op(opType: string, inputs: readonly string[], attributes: NodeAttributes = {}): string {
    const output = this.#fresh(opType);
    this.#node("", opType, inputs, [output], attributes);
    return output;
  }

  /** Adds an operator of ONNX itself with `outputs` outputs. */
  opN(opType: string, inputs: readonly string[], outputs: number, attributes: NodeAttributes = {}): string[] {
    const names = Array.from({ length: outputs }, () => this.#fresh(opType));
    this.#node("", opType, inputs, names, attributes);
    return names;
  }

  /** Adds a fused operator of onnxruntime (domain com.microsoft) with one output. */
  ms(opType: string, inputs: readonly string[], attributes: NodeAttributes = {}): string {
    const output = this.#fresh(opType);
    this.#node("com.microsoft", opType, inputs, [output], attributes);
    return output;
  }

  /** Adds a fused operator of onnxruntime; `used[i]` false leaves its output i out (the name is then empty). */
  msN(opType: string, inputs: readonly string[], used: readonly boolean[], attributes: NodeAttributes = {}): string[] {
    const names = used.map((is) => (is ? this.#fresh(opType) : ""));
    this.#node("com.microsoft", opType, inputs, names, attributes);
    return names;
  }

  /** Declares an input of the graph. */
  input(name: string, type: OnnxDataType, shape: readonly OnnxDim[]): string {
    if (this.#known.has(name)) return name;
    this.#known.add(name);
    this.#inputs.push(encodeValueInfo(name, type, shape));
    return name;
  }

  /**
   * Declares an output of the graph; `value` is the value to publish under that name. A value is published without a copy
   * the first time; under a second name, or when it is an input, an Identity copies it.
   */
  output(name: string, type: OnnxDataType, shape: readonly OnnxDim[], value: string): string {
    if (value !== name) {
      if (this.#made.has(value) && !this.#published.has(value)) this.#published.set(value, name);
      else this.#node("", "Identity", [value], [name], {});
    }
    this.#outputs.push(encodeValueInfo(name, type, shape));
    return name;
  }

  /** A constant held in the graph. `values` is little-endian, row-major, and copied. */
  constant(name: string, type: OnnxDataType, shape: readonly number[], values: ArrayBufferView): string {
    if (this.#known.has(name)) return name;
    this.#known.add(name);
    this.#initializers.push(encodeRawTensor(name, type, shape, new Uint8Array(values.buffer, values.byteOffset, values.byteLength)));
    return name;
  }

  /** A weight that stays in its file; `at.file` is relative to the folder that the session is told of. */
  external(name: string, type: OnnxDataType, shape: readonly number[], at: ExternalLocation): string {
    if (this.#known.has(name)) return name;
    this.#known.add(name);
    this.#initializers.push(encodeExternalTensor(name, type, shape, at));
    return name;
  }

  /** A constant list of int64, shape [values.length]. */
  int64(...values: readonly number[]): string {
    return this.constant(`int64_${values.join("_")}`, "int64", [values.length], BigInt64Array.from(values, BigInt));
  }

  /** A constant scalar float32. */
  float(value: number): string {
    return this.constant(`float_${value}`, "float32", [], Float32Array.of(value));
  }

  /** The value that `make` returned when it was first called for `key`. */
  once(key: string, make: () => string): string {
    const known = this.#once.get(key);
    if (known !== undefined) return known;
    const value = make();
    this.#once.set(key, value);
    return value;
  }

  /** The graph as bytes of a GraphProto: a sub-graph for the `{ graph }` attribute of If, Loop and Scan. */
  graphBytes(): Uint8Array {
    const renamed = (name: string): string => this.#published.get(name) ?? name;
    const nodes = this.#nodes.map((node) => encodeNode({ ...node, inputs: node.inputs.map(renamed), outputs: node.outputs.map(renamed) }));
    return encodeGraph({ name: this.name, nodes, initializers: this.#initializers, inputs: this.#inputs, outputs: this.#outputs });
  }

  /** The graph as bytes of a ModelProto, what a session is created from. */
  modelBytes(): Uint8Array {
    return encodeModel(this.graphBytes(), irVersion, opsets);
  }

  #fresh(opType: string): string {
    return `${this.name}/${opType}_${this.#count++}`;
  }

  #node(domain: string, opType: string, inputs: readonly string[], outputs: readonly string[], attributes: NodeAttributes): void {
    for (const output of outputs) this.#made.add(output);
    this.#nodes.push({ name: `${this.name}/node_${this.#nodes.length}`, opType, domain, inputs, outputs, attributes });
  }
}

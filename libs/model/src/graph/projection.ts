import { InputError } from "@mistral-sae/tensor";
import type { Graph } from "../onnx/graph.ts";
import { moduleNames } from "../quantisation/modules.ts";
import { graphHead, padHeads } from "./head-width.ts";
import type { ModelSource } from "./model-source.ts";
import { type Weight, weightNames } from "./weight-table.ts";

/** Projections of one input: the rows of their weights [out, in] one after another. */
export interface Module {
  /** Name of the packed matrix in a quantised model. */
  readonly name: string;
  /** Names of the weights in a model of floats. */
  readonly parts: readonly string[];
  /** Its rows of the packed matrix of a quantised model; absent: all. */
  readonly rows?: { readonly start: number; readonly count: number };
  /** Which side of the weights is made of heads, and of how many in each part. */
  readonly heads?: { readonly side: "rows" | "columns"; readonly counts: readonly number[] };
}

/**
 * The products of a layer. Queries, keys and values are one, as attention takes them; gate and up are two, because parting
 * one product's columns would copy all of them.
 */
export function layerModules({ config: { nHeads, nKeyValueHeads, dMlp } }: ModelSource, layer: number): Record<"queryKeyValue" | "output" | "gate" | "up" | "down", Module> {
  const weights = weightNames.layer(layer);
  const names = moduleNames.layer(layer);
  return {
    queryKeyValue: { name: names.queryKeyValue, parts: [weights.query, weights.key, weights.value], heads: { side: "rows", counts: [nHeads, nKeyValueHeads, nKeyValueHeads] } },
    output: { name: names.output, parts: [weights.output], heads: { side: "columns", counts: [nHeads] } },
    gate: { name: names.gateUp, parts: [weights.gate], rows: { start: 0, count: dMlp } },
    up: { name: names.gateUp, parts: [weights.up], rows: { start: dMlp, count: dMlp } },
    down: { name: names.down, parts: [weights.down] },
  };
}

/** The unembedding [dVocab, dModel]; the embedding table in a model that ties them. */
export function headModule(source: ModelSource): Module {
  return { name: moduleNames.head, parts: [source.config.tiedEmbeddings ? weightNames.embedding : weightNames.head] };
}

/** A weight as float32: its own values, or a Cast that onnxruntime folds when it loads the graph. */
export function floatWeight(g: Graph, source: ModelSource, name: string): string {
  const weight = source.weights.get(name);
  const stored = g.external(weight.name, weight.type, weight.shape, weight.at);
  const value = weight.type === "float32" ? stored : g.once(`${name}:float32`, () => g.op("Cast", [stored], { to: 1 }));
  const { interleavedHeads: heads, shape } = weight;
  return heads === undefined ? value : g.once(`${name}:halves`, () => deinterleaved(g, value, heads, shape));
}

/** Rows [heads, dHead / 2, 2] as [heads, 2, dHead / 2]; onnxruntime folds it when it loads the graph. */
function deinterleaved(g: Graph, weight: string, heads: number, [rows = 0, columns = 0]: readonly number[]): string {
  const pairs = g.op("Reshape", [weight, g.int64(heads, rows / heads / 2, 2, columns)]);
  return g.op("Reshape", [g.op("Transpose", [pairs], { perm: [0, 2, 1, 3] }), g.int64(rows, columns)]);
}

/**
 * x · Wᵀ. Floats are multiplied as they lie in their file, parts joined by a Concat that onnxruntime folds when it loads
 * the graph; quantised weights in blocks, with the rows of x rounded to int8 (accuracy level 4).
 */
export function project(g: Graph, source: ModelSource, x: string, module: Module): string {
  const quantised = source.weights.quantised(module.name);
  if (quantised === undefined) {
    const key = module.parts.join("+");
    const weight = g.once(key, () => floatMatrix(g, source, module));
    // WebGPU has no FusedMatMul; the transposed copy is folded when the graph is loaded.
    if (source.provider === "webgpu") return g.op("MatMul", [x, g.once(`${key}:transposed`, () => g.op("Transpose", [weight], { perm: [1, 0] }))]);
    return g.ms("FusedMatMul", [x, weight], { transB: 1, alpha: { float: 1 } });
  }
  if (module.heads !== undefined && graphHead(source.config) !== source.config.dHead) {
    throw new InputError("heads of this width cannot be quantised", { file: source.modelDir, field: "head_dim", got: source.config.dHead, wanted: "a multiple of 16, or the float weights" });
  }
  const { bits, blockSize, n, k } = quantised;
  const { start, count } = module.rows ?? { start: 0, count: n };
  const inputs = [x, rowsOf(g, quantised.qweight, start, count, n), rowsOf(g, quantised.scales, start, count, n)];
  return g.ms("MatMulNBits", inputs, { K: k, N: count, bits, block_size: blockSize, accuracy_level: 4 });
}

/** Rows [start, start + count) of a matrix of `n` rows that lies in a file: the leading dimension of its shape is theirs. */
function rowsOf(g: Graph, { name, type, shape, at }: Weight, start: number, count: number, n: number): string {
  if (count === n) return g.external(name, type, shape, at);
  const [first = n, ...inner] = shape;
  const bytes = at.length / n;
  return g.external(`${name}:${start}`, type, [(first / n) * count, ...inner], { file: at.file, offset: at.offset + start * bytes, length: count * bytes });
}

/** The parts of a module as one matrix. */
function floatMatrix(g: Graph, source: ModelSource, { parts, heads }: Module): string {
  const weights = parts.map((name, i) => {
    const weight = floatWeight(g, source, name);
    return heads === undefined ? weight : padHeads(g, weight, source.config, heads.counts[i]!, heads.side);
  });
  return weights.length === 1 ? weights[0]! : g.op("Concat", weights, { axis: 0 });
}

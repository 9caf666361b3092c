import { onnxDataTypes } from "../onnx/data-type.ts";
import type { Graph } from "../onnx/graph.ts";

/** What sampling in the graph reads: values of the graph around the loop. */
export interface SamplingInputs {
  /** f64 [steps, B, 1] in [0, 1). */
  readonly draws: string;
  /** f64 [B, 1]; 0 is greedy. */
  readonly temperature: string;
  /** int64 [B, 1]; the size of the vocabulary keeps all. */
  readonly topK: string;
  /** f64 [B, 1] */
  readonly topP: string;
  /** f64 [B, 1] */
  readonly minP: string;
}

/** Declares the inputs of sampling. */
export function samplingInputs(g: Graph): SamplingInputs {
  return {
    draws: g.input("draws", "float64", ["N", "B", 1]),
    temperature: g.input("temperature", "float64", ["B", 1]),
    topK: g.input("top_k", "int64", ["B", 1]),
    topP: g.input("top_p", "float64", ["B", 1]),
    minP: g.input("min_p", "float64", ["B", 1]),
  };
}

/** The first of the largest logits [B, V], int64 [B, 1]. */
export function addGreedyChoice(g: Graph, logits: string): string {
  return g.op("ArgMax", [logits], { axis: -1, keepdims: 1 });
}

/**
 * A token of each row, int64 [B, 1], as `Sampler` chooses it: tokens in the order of their logits, those kept by top_k, then
 * top_p, then min_p, and the first at which the weights so far exceed the draw; without any filter in the order of ids.
 * Weights are float64 and relative to the likeliest token's.
 */
export function addSampledChoice(g: Graph, logits: string, step: string, inputs: SamplingInputs): string {
  const { float64: double, int64: integer } = onnxDataTypes;
  const zero = g.constant("zero_f64", "float64", [], Float64Array.of(0));
  const unit = g.constant("one_f64", "float64", [], Float64Array.of(1));
  const axis = g.constant("last_axis", "int64", [], BigInt64Array.of(1n));
  const size = g.op("Shape", [logits], { start: 1, end: 2 });
  const [sorted = "", ids = ""] = g.opN("TopK", [logits, size], 2, { axis: -1, largest: 1, sorted: 1 });
  const greedy = g.op("Equal", [inputs.temperature, zero]);
  const temperature = g.op("Where", [greedy, unit, inputs.temperature]);
  const top = g.op("ReduceMax", [logits, g.int64(1)], { keepdims: 1 });
  const weigh = (values: string): string => g.op("Exp", [g.op("Div", [g.op("Sub", [g.op("Cast", [values], { to: double }), g.op("Cast", [top], { to: double })]), temperature])]);
  const draw = g.op("Gather", [inputs.draws, step], { axis: 0 });
  const total = (values: string): string => g.op("ReduceSum", [values, g.int64(1)], { keepdims: 1 });
  // How many running sums the draw has reached: the index of the first that exceeds it.
  const reached = (sums: string, mass: string): string => total(g.op("Cast", [g.op("LessOrEqual", [sums, g.op("Mul", [draw, mass])])], { to: integer }));

  const weights = weigh(sorted);
  const ranks = g.op("Range", [g.constant("zero_i64", "int64", [], BigInt64Array.of(0n)), g.op("Squeeze", [size]), g.constant("one_i64", "int64", [], BigInt64Array.of(1n))]);
  const inTopK = g.op("Less", [ranks, inputs.topK]);
  const first = g.op("Equal", [ranks, g.constant("zero_i64", "int64", [], BigInt64Array.of(0n))]);
  const candidates = g.op("Where", [inTopK, weights, zero]);
  const before = g.op("CumSum", [candidates, axis], { exclusive: 1 });
  const enough = g.op("Mul", [inputs.topP, total(candidates)]);
  const everything = g.op("Equal", [inputs.topP, unit]);
  const inNucleus = g.op("And", [g.op("Or", [everything, g.op("Less", [before, enough])]), g.op("GreaterOrEqual", [weights, inputs.minP])]);
  const kept = g.op("Where", [g.op("And", [inTopK, g.op("Or", [first, inNucleus])]), weights, zero]);
  const rank = reached(g.op("CumSum", [kept, axis]), total(kept));
  const filtered = g.op("GatherElements", [ids, g.op("Min", [rank, lastIndex(g, size)])], { axis: 1 });

  const plain = weigh(logits);
  const any = g.op("Min", [reached(g.op("CumSum", [plain, axis]), total(plain)), lastIndex(g, size)]);
  const unfiltered = g.op("And", [g.op("And", [everything, g.op("Equal", [inputs.minP, zero])]), g.op("GreaterOrEqual", [inputs.topK, size])]);
  return g.op("Where", [greedy, addGreedyChoice(g, logits), g.op("Where", [unfiltered, any, filtered])]);
}

function lastIndex(g: Graph, size: string): string {
  return g.op("Sub", [size, g.constant("one_i64", "int64", [], BigInt64Array.of(1n))]);
}

import { Graph } from "../onnx/graph.ts";
import { rmsNorm } from "./layer.ts";
import type { ModelSource } from "./model-source.ts";
import { floatWeight, headModule, project } from "./projection.ts";
import { weightNames } from "./weight-table.ts";

/** Final norm and unembedding of rows. */
export function logitsOf(g: Graph, source: ModelSource, rows: string): string {
  return project(g, source, rmsNorm(g, source, rows, weightNames.finalNorm), headModule(source));
}

/** Residual rows `resid` f32 [R, D] → `logits` f32 [R, V]: final norm and unembedding. */
export function buildHead(source: ModelSource): Uint8Array {
  const g = new Graph("head");
  const resid = g.input("resid", "float32", ["R", source.config.dModel]);
  g.output("logits", "float32", ["R", source.config.dVocab], logitsOf(g, source, resid));
  return g.modelBytes();
}

/**
 * Residual rows `resid` f32 [R, D] and `targets` int64 [R, 1] → `logprobs` f32 [R, 1], ln softmax(logits)[target].
 * With `kl`: also `resid_base` f32 [R, D] → `kl` f32 [R], Σ p_base (ln p_base − ln p). No row of logits leaves the graph.
 */
export function buildScoreHead(source: ModelSource, kl: boolean): Uint8Array {
  const g = new Graph("score");
  const { dModel } = source.config;
  const logprobsOf = (rows: string): string => g.op("LogSoftmax", [logitsOf(g, source, rows)], { axis: -1 });
  const targets = g.input("targets", "int64", ["R", 1]);
  const ofTargets = (logprobs: string): string => g.op("GatherElements", [logprobs, targets], { axis: 1 });
  const logprobs = logprobsOf(g.input("resid", "float32", ["R", dModel]));
  g.output("logprobs", "float32", ["R", 1], ofTargets(logprobs));
  if (kl) {
    const base = logprobsOf(g.input("resid_base", "float32", ["R", dModel]));
    const terms = g.op("Mul", [g.op("Exp", [base]), g.op("Sub", [base, logprobs])]);
    g.output("base_logprobs", "float32", ["R", 1], ofTargets(base));
    g.output("kl", "float32", ["R"], g.op("ReduceSum", [terms, g.int64(1)], { keepdims: 0 }));
  }
  return g.modelBytes();
}

/**
 * Steps of the residual `directions` f32 [F, D] and `k` int64 [1] → the k most promoted and most suppressed tokens,
 * `top_values`/`low_values` f32 [F, k] and `top_ids`/`low_ids` int64 [F, k]: W_U · (g ∘ d), g the final norm's weight.
 */
export function buildDirectionHead(source: ModelSource): Uint8Array {
  const g = new Graph("direction_head");
  const scaled = g.op("Mul", [g.input("directions", "float32", ["F", source.config.dModel]), floatWeight(g, source, weightNames.finalNorm)]);
  const logits = project(g, source, scaled, headModule(source));
  const k = g.input("k", "int64", [1]);
  for (const [name, largest] of [["top", 1], ["low", 0]] as const) {
    const [values = "", ids = ""] = g.opN("TopK", [logits, k], 2, { axis: -1, largest, sorted: 1 });
    g.output(`${name}_values`, "float32", ["F", "k"], values);
    g.output(`${name}_ids`, "int64", ["F", "k"], ids);
  }
  return g.modelBytes();
}

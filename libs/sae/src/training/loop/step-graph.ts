import { Graph } from "@mistral-sae/model";
import type { ResolvedTrainerConfig } from "../config.ts";
import { silenceRule } from "../step-context.ts";
import { addBackward, type BackwardValues } from "./backward-graph.ts";
import { addAdam } from "./adam-graph.ts";

/** What the loop carries from step to step, in order, and its places in the trainer's memory. */
export const carriedMatrices = ["w_enc", "w_dec", "m_w_enc", "m_w_dec", "v_w_enc", "v_w_dec"] as const;
export const carriedVectors = ["b_dec", "m_b_dec", "v_b_dec"] as const;
/** What each step reports, in order. */
export const stepReport = ["errorSquares", "rowSquares", "auxLoss", "entries", "numDead", "gradientSquares"] as const;

/**
 * Training steps of a topk SAE as one ONNX Loop, in the formulas of `gao-step.ts` and `seed-step.ts`. All rows have the width S of
 * the trainer's memory: columns from d_in on are zero, but for column d_in, which is b_enc in `w_enc` and 1 in the encoder's input.
 * Everything sparse is dense here, [B, d_sae]: five products instead of one, but no sum whose order a GPU leaves to chance.
 *
 * Inputs: `steps` int64 scalar K; `rows` f32 [K, B, S], raw; `step_size`, `unbias2`, `decay` f32 [K] (see `optimise.ts`);
 * `mse_scale`, `input_scale` f32 scalars; `since` int64 [d_sae]; {@link carriedMatrices} [d_sae, S], {@link carriedVectors} [S];
 * for covariance_whitening `whitening_mean` [S] and `whitening_matrix` [S, S], transposed.
 * Outputs: what it carries, under `next_…`, and `report` f32 [K, 6], see {@link stepReport}.
 */
export function buildTrainingLoop(config: ResolvedTrainerConfig, width: number): Uint8Array {
  const { dIn: d, dSae: h, trainBatchSizeTokens: batch } = config;
  const outer = new Graph("training");
  const body = new Graph("step");
  const index = body.input("index", "int64", []);
  const going = body.input("going", "bool", []);
  const carried = [...carriedMatrices.map((name) => [name, [h, width]] as const), ...carriedVectors.map((name) => [name, [width]] as const)];
  for (const [name, shape] of carried) body.input(`old_${name}`, "float32", shape);
  const since = body.input("old_since", "int64", [h]);

  const rows = outer.input("rows", "float32", ["K", batch, width]);
  const [stepSize, unbias2, decay] = ["step_size", "unbias2", "decay"].map((name) => body.op("Gather", [outer.input(name, "float32", ["K"]), index], { axis: 0 }));
  const inColumns = body.constant("in_columns", "float32", [width], Float32Array.from({ length: width }, (_, i) => (i < d ? 1 : 0)));
  const biasColumn = body.constant("bias_column", "float32", [width], Float32Array.from({ length: width }, (_, i) => (i === d ? 1 : 0)));
  const raw = body.op("Gather", [rows, index], { axis: 0 });
  const { x, mean, deviation } = normalised(body, outer, config, raw, inColumns, width);
  const centered = body.op("Add", [body.op("Sub", [x, "old_b_dec"]), biasColumn]);

  const pre = body.op("Gemm", [centered, "old_w_enc"], { transB: 1 });
  const [top, at] = body.opN("TopK", [pre, body.int64(config.k)], 2, { axis: -1, largest: 1, sorted: 0 });
  const vals = body.op("Relu", [top!]);
  const empty = body.op("ConstantOfShape", [body.int64(batch, h)]);
  const z = body.op("ScatterElements", [empty, at!, vals], { axis: 1 });
  const decoded = body.op("Add", [body.op("MatMul", [z, "old_w_dec"]), "old_b_dec"]);
  const seedCompat = config.formulation === "seed_compat";
  const target = seedCompat ? raw : x;
  const error = seedCompat ? body.op("Mul", [body.op("Sub", [rescaled(body, decoded, mean, deviation), raw]), inColumns]) : body.op("Sub", [decoded, x]);
  const errorSquares = sumSquares(body, error);

  const zero = body.float(0);
  const fired = body.op("Greater", [body.op("ReduceMax", [z, body.int64(0)], { keepdims: 0 }), zero]);
  const { whenFired, increment, threshold } = silenceRule(config);
  const silent = body.op("Where", [fired, body.int64(whenFired), body.op("Add", [since, body.int64(increment)])]);
  const dead = body.op("GreaterOrEqual", [silent, body.int64(threshold)]);
  const numDead = body.op("ReduceSum", [body.op("Cast", [dead], { to: 1 })], { keepdims: 0 });

  const values: BackwardValues = {
    config, width, pre, z, empty, centered, error, errorSquares, dead, mean, deviation, inColumns,
    gScale: body.op("Div", [body.op("Mul", [outer.input("mse_scale", "float32", []), body.float(2)]), body.float(batch * d)]),
    spread: seedCompat ? "" : spread(body, error),
    zero, one: body.float(1), axis0: body.int64(0),
    kAux: body.int64(config.kAux), auxCoefficient: body.float(2 * config.auxLossCoefficient), half: body.float(0.5),
    values: body.float(batch * d), lowest: body.float(-3e38),
  };
  const [gEnc, gDec, gSum, auxLoss] = addBackward(body, values, numDead);
  const gBias = body.op("MatMul", [gEnc!, body.op("Unsqueeze", [biasColumn, body.int64(1)])]);
  const through = body.op("Mul", [body.op("Reshape", [body.op("Gemm", [gBias, "old_w_enc"], { transA: 1 }), body.int64(width)]), inColumns]);
  const report = addAdam(body, config, { w_enc: gEnc!, w_dec: gDec!, b_dec: body.op("Sub", [gSum!, through]) }, { stepSize: stepSize!, unbias2: unbias2!, decay: decay!, inColumns });

  const entries = body.op("ReduceSum", [body.op("Cast", [body.op("Greater", [vals, zero])], { to: 1 })], { keepdims: 0 });
  const told = [errorSquares, spread(body, target), auxLoss!, entries, numDead, report.gradientSquares].map((value) => body.op("Reshape", [value, body.int64(1)]));
  body.output("going_on", "bool", [], body.op("Identity", [going]));
  for (const [name, shape] of carried) body.output(`new_${name}`, "float32", shape, report.next[name]!);
  body.output("new_since", "int64", [h], body.op("Identity", [silent]));
  body.output("told", "float32", [stepReport.length], body.op("Concat", told, { axis: 0 }));

  const start = [...carried.map(([name, shape]) => outer.input(name, "float32", shape)), outer.input("since", "int64", [h])];
  const outputs = outer.opN("Loop", [outer.input("steps", "int64", []), "", ...start], start.length + 1, { body: { graph: body.graphBytes() } });
  for (const [i, [name, shape]] of carried.entries()) outer.output(`next_${name}`, "float32", shape, outputs[i]!);
  outer.output("next_since", "int64", [h], outputs[carried.length]!);
  outer.output("report", "float32", ["K", stepReport.length], outputs.at(-1)!);
  return outer.modelBytes();
}

interface NormalisedRows {
  readonly x: string;
  /** layer_norm: [B, 1] each; else empty. */
  readonly mean: string;
  readonly deviation: string;
}

/** The rows as the SAE sees them (see `codec/normalize.ts`), zero in their padding. */
function normalised(g: Graph, outer: Graph, config: ResolvedTrainerConfig, raw: string, inColumns: string, width: number): NormalisedRows {
  const { dIn: d, normalizeActivations: kind } = config;
  const none = { mean: "", deviation: "" };
  if (kind === "none") return { x: raw, ...none };
  if (kind === "expected_average_only_in") return { x: g.op("Mul", [raw, outer.input("input_scale", "float32", [])]), ...none };
  if (kind === "covariance_whitening") {
    const away = g.op("Sub", [raw, outer.input("whitening_mean", "float32", [width])]);
    return { x: g.op("Gemm", [away, outer.input("whitening_matrix", "float32", [width, width])], { transB: 1 }), ...none };
  }
  if (kind === "constant_norm_rescale") {
    const norm = g.op("ReduceL2", [raw, g.int64(1)], { keepdims: 1 });
    const factor = g.op("Where", [g.op("Greater", [norm, g.float(0)]), g.op("Div", [g.float(Math.sqrt(d)), norm]), g.float(0)]);
    return { x: g.op("Mul", [raw, factor]), ...none };
  }
  const mean = g.op("Div", [g.op("ReduceSum", [raw, g.int64(1)], { keepdims: 1 }), g.float(d)]);
  const away = g.op("Mul", [g.op("Sub", [raw, mean]), inColumns]);
  const deviation = g.op("Sqrt", [g.op("Div", [g.op("ReduceSumSquare", [away, g.int64(1)], { keepdims: 1 }), g.float(d - 1)])]);
  return { x: g.op("Div", [away, g.op("Add", [deviation, g.float(1e-5)])]), mean, deviation };
}

/** rows·deviation + mean */
export function rescaled(g: Graph, rows: string, mean: string, deviation: string): string {
  return g.op("Add", [g.op("Mul", [rows, deviation]), mean]);
}

export function sumSquares(g: Graph, values: string): string {
  return g.op("ReduceSumSquare", [values], { keepdims: 0 });
}

/** Σ‖v - v̄‖², v̄ the mean row. */
function spread(g: Graph, rows: string): string {
  return sumSquares(g, g.op("Sub", [rows, g.op("ReduceMean", [rows, g.int64(0)], { keepdims: 1 })]));
}

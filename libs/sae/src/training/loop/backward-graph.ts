import { Graph } from "@mistral-sae/model";
import type { ResolvedTrainerConfig } from "../config.ts";

/** Values of a step that its backward pass reads, by name; constants too, as a branch may not name its own like those around it. */
export interface BackwardValues {
  readonly config: ResolvedTrainerConfig;
  /** S */
  readonly width: number;
  /** [B, d_sae]: pre-activations, kept activations, zeros. */
  readonly pre: string;
  readonly z: string;
  readonly empty: string;
  /** [B, S]: the encoder's input, x̂ - x. */
  readonly centered: string;
  readonly error: string;
  readonly errorSquares: string;
  /** bool [d_sae] */
  readonly dead: string;
  /** [B, 1], layer_norm only. */
  readonly mean: string;
  readonly deviation: string;
  /** [S] */
  readonly inColumns: string;
  /** Scalars: 2·S/(B·d); gao: Σ‖e - ē‖². */
  readonly gScale: string;
  readonly spread: string;
  readonly zero: string;
  readonly one: string;
  readonly axis0: string;
  readonly kAux: string;
  /** 2·c */
  readonly auxCoefficient: string;
  readonly half: string;
  readonly values: string;
  readonly lowest: string;
}

/**
 * Gradients of W_enc with b_enc, of W_dec, and of b_dec through the output (Σ over rows), and the auxiliary loss.
 * Dead latents take part only when there are any: an If, as their products cost as much as the rest.
 */
export function addBackward(body: Graph, values: BackwardValues, numDead: string): string[] {
  const { config, width } = values;
  const gradients = config.formulation === "seed_compat" ? seedBackward : gaoBackward;
  const shapes = [[config.dSae, width], [config.dSae, width], [width], []];
  const branch = (name: string, aux: boolean): Uint8Array => {
    const g = new Graph(name);
    for (const [i, value] of gradients(g, values, aux).entries()) g.output(`${name}_${i}`, "float32", shapes[i]!, value);
    return g.graphBytes();
  };
  if (config.kAux === 0) return gradients(body, values, false);
  return body.opN("If", [body.op("Greater", [numDead, values.zero])], 4, { then_branch: { graph: branch("with_dead", true) }, else_branch: { graph: branch("without_dead", false) } });
}

/** The largest pre-activations among the dead, [B, d_sae]; fewer than k_aux dead leave the rest at zero. */
function deadActivations(g: Graph, { pre, dead, lowest, kAux, empty }: BackwardValues): string {
  const [vals, at] = g.opN("TopK", [g.op("Where", [dead, pre, lowest]), kAux], 2, { axis: -1, largest: 1, sorted: 0 });
  return g.op("ScatterElements", [empty, at!, g.op("Relu", [vals!])], { axis: 1 });
}

function gaoBackward(g: Graph, values: BackwardValues, aux: boolean): string[] {
  const { error, gScale, spread, zero, auxCoefficient, half } = values;
  const outward = g.op("Mul", [error, gScale]);
  const gSum = g.op("ReduceSum", [outward, values.axis0], { keepdims: 0 });
  if (!aux) return [...latentGradients(g, values, [[values.z, outward]]), gSum, g.op("Identity", [zero])];
  const za = deadActivations(g, values);
  const missed = g.op("Add", [g.op("MatMul", [za, "old_w_dec"]), error]);
  const factor = g.op("Where", [g.op("Greater", [spread, zero]), g.op("Div", [auxCoefficient, spread]), zero]);
  const auxLoss = g.op("Mul", [g.op("Mul", [factor, half]), g.op("ReduceSumSquare", [missed], { keepdims: 0 })]);
  return [...latentGradients(g, values, [[values.z, outward], [za, g.op("Mul", [missed, factor])]]), gSum, auxLoss];
}

function seedBackward(g: Graph, values: BackwardValues, aux: boolean): string[] {
  const { error, gScale, mean, deviation, inColumns, auxCoefficient } = values;
  const main = g.op("Mul", [error, gScale]);
  const total = (rows: string): string => g.op("ReduceSum", [rows, values.axis0], { keepdims: 0 });
  if (!aux) {
    const outward = g.op("Mul", [main, deviation]);
    return [...latentGradients(g, values, [[values.z, outward]]), total(outward), g.op("Identity", [values.zero])];
  }
  const za = deadActivations(g, values);
  const decoded = g.op("Add", [g.op("MatMul", [za, "old_w_dec"]), "old_b_dec"]);
  const rebuilt = g.op("Mul", [g.op("Add", [g.op("Mul", [decoded, deviation]), mean]), inColumns]);
  const missed = g.op("Add", [rebuilt, error]);
  const factor = g.op("Div", [auxCoefficient, values.values]);
  const through = g.op("Mul", [missed, factor]);
  const outward = g.op("Mul", [g.op("Add", [main, through]), deviation]);
  const auxOutward = g.op("Mul", [through, deviation]);
  const auxLoss = g.op("Mul", [g.op("Mul", [factor, values.half]), g.op("ReduceSumSquare", [missed], { keepdims: 0 })]);
  return [...latentGradients(g, values, [[values.z, outward], [za, auxOutward]]), g.op("Add", [total(outward), total(auxOutward)]), auxLoss];
}

/** W_enc's and W_dec's gradients from activations and the gradients of what they decode to: dz = (G·W_decᵀ)·[z > 0]. */
function latentGradients(g: Graph, { centered, zero }: BackwardValues, parts: readonly (readonly [z: string, outward: string])[]): [string, string] {
  const dz = parts.map(([z, outward]) => g.op("Where", [g.op("Greater", [z, zero]), g.op("Gemm", [outward, "old_w_dec"], { transB: 1 }), zero]));
  const gDec = parts.map(([z, outward]) => g.op("Gemm", [z, outward], { transA: 1 }));
  const sum = (values: readonly string[]): string => values.reduce((one, other) => g.op("Add", [one, other]));
  return [g.op("Gemm", [sum(dz), centered], { transA: 1 }), sum(gDec)];
}

import type { Graph } from "@mistral-sae/model";
import type { ResolvedTrainerConfig } from "../config.ts";

type Parameter = "w_enc" | "w_dec" | "b_dec";

/** Scalars of this step, and the mask of the columns that are weights. */
export interface AdamValues {
  readonly stepSize: string;
  readonly unbias2: string;
  readonly decay: string;
  readonly inColumns: string;
}

/**
 * Projection, clipping, AdamW and the decoder's norms, as `optimise.ts` and the formulation's own step have them. Reads `old_…`;
 * gives the values after the step by name, and Σ of the squares of all gradients.
 */
export function addAdam(g: Graph, config: ResolvedTrainerConfig, gradients: Readonly<Record<Parameter, string>>, { stepSize, unbias2, decay, inColumns }: AdamValues): { readonly next: Readonly<Record<string, string>>; readonly gradientSquares: string } {
  const seedCompat = config.formulation === "seed_compat";
  const one = g.float(1);
  const axis = g.int64(seedCompat ? 0 : 1);
  // seed_compat normalises columns before the step, gao rows after it.
  const columnNorms = (): string => g.op("Add", [g.op("Sqrt", [g.op("ReduceSumSquare", ["old_w_dec", axis], { keepdims: 1 })]), g.op("Sub", [one, inColumns])]);
  const decoder = seedCompat ? g.op("Div", ["old_w_dec", columnNorms()]) : "old_w_dec";
  const along = g.op("ReduceSum", [g.op("Mul", [gradients.w_dec, decoder]), axis], { keepdims: 1 });
  const projected = { ...gradients, w_dec: g.op("Sub", [gradients.w_dec, g.op("Mul", [along, decoder])]) };
  const gradientSquares = Object.values(projected).map((gradient) => g.op("ReduceSumSquare", [gradient], { keepdims: 0 })).reduce((sum, part) => g.op("Add", [sum, part]));
  const clip = config.gradClipNorm > 0 ? g.op("Min", [one, g.op("Div", [g.float(config.gradClipNorm), g.op("Add", [g.op("Sqrt", [gradientSquares]), g.float(1e-6)])])]) : one;
  const [beta1, rest1, beta2, rest2, epsilon] = [config.adamBeta1, 1 - config.adamBeta1, config.adamBeta2, 1 - config.adamBeta2, config.adamEpsilon].map((value) => g.float(value));
  const next: Record<string, string> = {};
  for (const name of ["w_enc", "w_dec", "b_dec"] as const) {
    const gradient = g.op("Mul", [projected[name], clip]);
    const m = g.op("Add", [g.op("Mul", [`old_m_${name}`, beta1!]), g.op("Mul", [gradient, rest1!])]);
    const v = g.op("Add", [g.op("Mul", [`old_v_${name}`, beta2!]), g.op("Mul", [g.op("Mul", [gradient, gradient]), rest2!])]);
    const moved = g.op("Div", [g.op("Mul", [m, stepSize]), g.op("Add", [g.op("Mul", [g.op("Sqrt", [v]), unbias2]), epsilon!])]);
    const before = name === "w_dec" ? decoder : `old_${name}`;
    const after = g.op("Sub", [g.op("Mul", [before, decay]), moved]);
    const unit = name === "w_dec" && !seedCompat;
    next[name] = unit ? g.op("Div", [after, g.op("Max", [g.op("ReduceL2", [after, axis], { keepdims: 1 }), g.float(1e-30)])]) : after;
    next[`m_${name}`] = m;
    next[`v_${name}`] = v;
  }
  return { next, gradientSquares };
}

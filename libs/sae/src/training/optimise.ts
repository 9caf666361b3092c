import type { ResolvedTrainerConfig } from "./config.ts";
import { latentVectorsOf } from "./penalised-state.ts";
import { Arg } from "./phases.ts";
import { skipVectorsOf } from "./skip-connection.ts";
import type { StepParts } from "./step-context.ts";
import type { MatrixRegion, TrainerMemory, VectorRegion } from "./trainer-memory.ts";

/** Where an optimiser keeps what: the trained weights, their gradient, and two arrays of state. */
export interface OptimisedVector {
  readonly p: number;
  readonly g: number;
  readonly m: number;
  readonly v: number;
  readonly bytes: number;
}

/**
 * One step on everything, gradients clipped to the configured norm.
 *
 * adam: AdamW as in torch.optim (Loshchilov & Hutter 2019): p *= 1 - lr·λ; m = β1·m + (1-β1)·g; v = β2·v + (1-β2)·g²;
 * p -= lr/(1-β1ᵗ) · m/(√v/√(1-β2ᵗ) + ε). m and v are its moments.
 *
 * signum_schedule_free: sign descent (Bernstein et al. 2018) under schedule-free averaging (Defazio et al. 2024, arXiv 2405.15682,
 * with the weights of its reference implementation): z -= lr·(λ·y + sign g(y)); c = L²/ΣL², L the largest rate so far;
 * x = (1-c)·x + c·z; y = (1-β1)·z + β1·x. Training runs at y = p; m holds z, v holds the average x, which is what is exported.
 * Unit decoder rows: the gradient has no part along y, and z, x and y are each put back on the sphere, so that any of the three
 * is an SAE with unit rows (sparsify scales y alone, and its saved x has other lengths).
 */
export function updateWeights(context: StepParts, lr: number, gradNorm: number): void {
  const { config, memory, team } = context;
  const signum = config.optimizer === "signum_schedule_free";
  if (signum) setSignum(context, lr);
  else setAdam(context, lr, gradNorm);
  team.run(signum ? "signum" : "adam");
  const a = (index: number): number => team.args[index]!;
  for (const { p, g, m, v, bytes } of vectorsOf(memory)) {
    if (signum) team.kernels.signumVector(p, g, m, v, a(Arg.step), a(Arg.decay), a(Arg.share), a(Arg.rest1), bytes);
    else team.kernels.adamVector(p, g, m, v, a(Arg.clip), a(Arg.beta1), a(Arg.rest1), a(Arg.beta2), a(Arg.rest2), a(Arg.step), a(Arg.unbias2), a(Arg.epsilon), a(Arg.decay), bytes);
  }
}

/** What is trained besides the rows of encoder and decoder. */
function vectorsOf(memory: TrainerMemory): OptimisedVector[] {
  const { at, stride } = memory.layout;
  return [{ p: at.bDec, g: at.gBDec, m: at.mBDec, v: at.vBDec, bytes: stride }, ...latentVectorsOf(memory), ...skipVectorsOf(memory)];
}

function setAdam({ config, memory, team: { args } }: StepParts, lr: number, gradNorm: number): void {
  const { adamBeta1: beta1, adamBeta2: beta2, gradClipNorm } = config;
  const t = memory.step + 1;
  args[Arg.clip] = gradClipNorm > 0 ? Math.min(1, gradClipNorm / (gradNorm + 1e-6)) : 1;
  args[Arg.beta1] = beta1;
  args[Arg.rest1] = 1 - beta1;
  args[Arg.beta2] = beta2;
  args[Arg.rest2] = 1 - beta2;
  args[Arg.step] = lr / (1 - beta1 ** t);
  args[Arg.unbias2] = 1 / Math.sqrt(1 - beta2 ** t);
  args[Arg.epsilon] = config.adamEpsilon;
  args[Arg.decay] = 1 - lr * config.weightDecay;
}

function setSignum({ config, memory, team: { args } }: StepParts, lr: number): void {
  memory.largestLr = Math.max(memory.largestLr, lr);
  const weight = memory.largestLr ** 2;
  memory.averageWeight += weight;
  args[Arg.step] = lr;
  args[Arg.decay] = lr * config.weightDecay;
  args[Arg.share] = weight > 0 ? weight / memory.averageWeight : 0;
  args[Arg.rest1] = 1 - config.adamBeta1;
}

/** The regions that hold the SAE as it is evaluated and saved: what is trained on, or its average. */
export function savedRegions({ optimizer }: Pick<ResolvedTrainerConfig, "optimizer">): { readonly wEnc: MatrixRegion; readonly wDec: MatrixRegion; readonly bDec: VectorRegion; readonly wSkip: MatrixRegion } {
  return optimizer === "signum_schedule_free" ? { wEnc: "vEnc", wDec: "vDec", bDec: "vBDec", wSkip: "vSkip" } : { wEnc: "wEnc", wDec: "wDec", bDec: "bDec", wSkip: "wSkip" };
}

/** Starts the optimiser's state from the weights in `memory`: zero moments, or z = x = y. */
export function startOptimiser(memory: TrainerMemory, { optimizer }: Pick<ResolvedTrainerConfig, "optimizer">): void {
  memory.largestLr = 0;
  memory.averageWeight = 0;
  if (optimizer !== "signum_schedule_free") return;
  for (const region of ["mEnc", "vEnc"] as const) memory.matrix(region).set(memory.matrix("wEnc"));
  for (const region of ["mDec", "vDec"] as const) memory.matrix(region).set(memory.matrix("wDec"));
  for (const { p, m, v, bytes } of vectorsOf(memory)) for (const at of [m, v]) new Uint8Array(memory.buffer, at, bytes).set(new Uint8Array(memory.buffer, p, bytes));
}

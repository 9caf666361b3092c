import { requireFiniteLoss } from "./finite.ts";
import { Arg } from "./phases.ts";
import { countSilence, encodeDead, type Gradients, placeEntries, reduceDecoderBias, type StepContext, sumThreadRows } from "./step-context.ts";

/**
 * Loss and gradients of the original mistral-sae, its deviations from Gao et al. included: the loss in the raw space, the auxiliary
 * target not detached and with b_dec, deviation and mean in its reconstruction, and W_dec normalised over the latents (one norm for
 * each model dimension) between the backward pass and the optimiser, with the gradient's part along those columns taken out.
 */
export async function seedGradients(context: StepContext): Promise<Gradients> {
  const { config, memory, team, codes } = context;
  const { batch, d } = memory.layout;
  const { args } = team;
  const values = batch * d;
  await codes.encode(config.k);
  const errorSquares = team.run("seedDecode");
  requireFiniteLoss(context, errorSquares);
  const { entries, numDead } = countSilence(context);
  let auxLoss = 0;
  args[Arg.hasAux] = 0;
  if (numDead > 0 && config.kAux > 0) {
    await encodeDead(context, numDead);
    args[Arg.auxScale] = (2 * config.auxLossCoefficient) / values;
    auxLoss = (config.auxLossCoefficient * team.run("seedDecodeAux")) / values;
    requireFiniteLoss(context, auxLoss);
  }
  args[Arg.gScale] = (2 * memory.mseScale) / values;
  team.run("seedFinish");
  placeEntries(context);
  team.run("gradients");
  const biasSquares = reduceDecoderBias(context);
  return { mseLoss: (memory.mseScale * errorSquares) / values, innerLoss: 0, sparsityLoss: 0, auxLoss, errorSquares, entries, numDead, squares: biasSquares + normaliseColumns(context) };
}

/** W_dec[:, j] /= ‖W_dec[:, j]‖; g[:, j] -= W_dec[:, j]·⟨W_dec[:, j], g[:, j]⟩. Returns Σ of the squares of the matrices' gradients. */
function normaliseColumns(context: StepContext): number {
  const { memory, team } = context;
  const { d } = memory.layout;
  team.run("columnSquares");
  // Padding columns are zero and stay so: their divisor is 1.
  memory.vector("norms").fill(1).set(sumThreadRows(context, "sums", new Float64Array(d)).map(Math.sqrt));
  team.run("divideColumns");
  memory.vector("along").set(sumThreadRows(context, "sums", new Float64Array(d)));
  return team.run("projectColumns");
}

import { featuresAt } from "./features-at.ts";
import { requireFiniteLoss } from "./finite.ts";
import { Arg } from "./phases.ts";
import { countSilence, encodeDead, type Gradients, placeEntries, reduceDecoderBias, type StepContext, sumThreadRows } from "./step-context.ts";

/**
 * Loss and gradients of Gao et al. 2024 (OpenAI's train.py), in the space of the normalised rows x:
 * mse = S·mean((r - x)²); e = x - r, detached; aux = c·mean((ê - e)²) / mean((e - ē)²) over the dead latents' own reconstruction
 * ê = za·W_dec, with ē the batch mean. The auxiliary gradient reaches W_enc, b_enc and W_dec of dead latents, and b_dec through
 * the encoder's input. Nested levels (matryoshka_batchtopk) each add the mse of their own reconstruction; e is that of all latents.
 * Decoder gradients lose their part along the unit rows.
 */
export async function gaoGradients(context: StepContext): Promise<Gradients> {
  const { config, memory, team, codes } = context;
  const { batch, dOut } = memory.layout;
  const { args } = team;
  const values = batch * dOut;
  await codes.encode(featuresAt(memory.step, config));
  const gScale = (2 * memory.mseScale) / values;
  args[Arg.gScale] = gScale;
  const { outer: errorSquares, inner } = codes.decode();
  requireFiniteLoss(context, errorSquares + inner);
  const mseLoss = (memory.mseScale * errorSquares) / values;
  const { entries, numDead } = countSilence(context);
  let auxLoss = 0;
  args[Arg.hasAux] = 0;
  if (numDead > 0 && config.kAux > 0) {
    const variance = errorSquares - meanErrorSquares(context, gScale);
    if (variance > 0) {
      await encodeDead(context, numDead);
      args[Arg.inverseScale] = 1 / gScale;
      args[Arg.auxScale] = (2 * config.auxLossCoefficient) / variance;
      auxLoss = (config.auxLossCoefficient * codes.decodeAux()) / variance;
      requireFiniteLoss(context, auxLoss);
    }
  }
  placeEntries(context);
  const squares = team.run("gradients");
  return { mseLoss, innerLoss: (memory.mseScale * inner) / values, auxLoss, sparsityLoss: 0, errorSquares, entries, numDead, squares: squares + reduceDecoderBias(context) };
}

/** B·‖ē‖²: with Σ‖e‖² it gives Σ‖e - ē‖², from the column sums of g = -gScale·e. */
function meanErrorSquares(context: StepContext, gScale: number): number {
  const { batch, dOut, widths } = context.memory.layout;
  let sum = 0;
  for (const column of sumThreadRows(context, widths.length > 1 ? "outerColumns" : "columns", new Float64Array(dOut))) sum += (column / gScale) ** 2;
  return sum / batch;
}

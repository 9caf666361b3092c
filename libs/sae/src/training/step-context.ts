import type { ResolvedTrainerConfig } from "./config.ts";
import type { Codes } from "./codes.ts";
import type { DenseEncoder } from "./dense-encoder.ts";
import type { TrainerEncoder } from "./encoder.ts";
import type { KernelTeam } from "./kernel-team.ts";
import { Arg } from "./phases.ts";
import type { TrainerMemory } from "./trainer-memory.ts";

/** What every step works with. */
export interface StepParts {
  readonly config: ResolvedTrainerConfig;
  readonly memory: TrainerMemory;
  readonly team: KernelTeam;
}

/** What the parts of a step that selects its features work with. */
export interface StepContext extends StepParts {
  readonly encoder: TrainerEncoder;
  /** For architectures that need every pre-activation. */
  readonly dense: DenseEncoder | undefined;
  readonly codes: Codes;
}

/** What the backward pass leaves for the optimiser and the metrics; gradients lie in memory. */
export interface Gradients {
  readonly mseLoss: number;
  readonly auxLoss: number;
  /** Of penalised architectures, else 0. */
  readonly sparsityLoss: number;
  /** Nested levels: their losses besides mseLoss, which is that of all latents. */
  readonly innerLoss: number;
  /** Σ‖x - x̂‖². */
  readonly errorSquares: number;
  /** Entries of the batch. */
  readonly entries: number;
  readonly numDead: number;
  /** Σ of the squares of all gradients. */
  readonly squares: number;
}

/**
 * How silence is counted: the counter of a latent that fired, what a silent one's grows by, and the value from which it is dead.
 * seed_compat counts steps, the firing one too, and asks for more than deadSteps; gao counts rows and asks for the whole window.
 */
export function silenceRule({ deadSteps, deadFeatureWindowTokens, trainBatchSizeTokens }: ResolvedTrainerConfig): { readonly whenFired: number; readonly increment: number; readonly threshold: number } {
  if (deadSteps !== undefined) return { whenFired: 1, increment: 1, threshold: Math.floor(deadSteps) + 1 };
  return { whenFired: 0, increment: trainBatchSizeTokens, threshold: Math.ceil(deadFeatureWindowTokens) };
}

/** Counts which latents fired and how long the others have been silent. Lists the dead; returns their number and that of the entries. */
export function countSilence({ config, memory, team, codes }: StepContext): { readonly entries: number; readonly numDead: number } {
  const { at, h } = memory.layout;
  new Uint8Array(memory.buffer, at.counts, h * 4).fill(0);
  const entries = codes.count();
  const { whenFired, increment, threshold } = silenceRule(config);
  const numDead = team.kernels.ageLatents(at.counts, memory.sinceAt, memory.nextSinceAt, whenFired, increment, threshold, at.dead, h);
  return { entries, numDead };
}

/** Encodes the dead latents and tells the threads where their values and names are. */
export async function encodeDead({ memory, team, encoder }: StepContext, numDead: number): Promise<void> {
  const { at, kAux, topsDead } = memory.layout;
  const { args } = team;
  args[Arg.deadCount] = numDead;
  args[Arg.auxK] = Math.min(kAux, numDead);
  args[Arg.hasAux] = 1;
  if (topsDead && numDead > kAux) {
    await team.encodeDead();
    args[Arg.auxSource] = at.auxSource;
    args[Arg.auxSourceRow] = kAux * 4;
    return;
  }
  const { source, sourceRow } = await encoder.encodeDead(numDead);
  args[Arg.auxSource] = source;
  args[Arg.auxSourceRow] = sourceRow;
}

/** Sorts all entries of the batch, auxiliary ones too, by latent. */
export function placeEntries({ memory, team, codes }: StepContext): void {
  const { at, h } = memory.layout;
  const hasAux = team.args[Arg.hasAux] !== 0;
  if (hasAux) codes.countAux();
  team.kernels.placeLatents(at.counts, at.offsets, h);
  codes.place(false);
  if (hasAux) codes.place(true);
}

/** Adds the threads' rows of a region in the order of the threads, into f64 [d_out]. */
export function sumThreadRows({ memory }: StepParts, region: "columns" | "outerColumns" | "bDecColumns" | "sums", target: Float64Array): Float64Array {
  const { at, dOut: d, stride, threads } = memory.layout;
  const wide = region === "sums";
  for (let thread = 0; thread < threads; thread++) {
    const offset = at[region] + thread * stride * (wide ? 2 : 1);
    const row = wide ? new Float64Array(memory.buffer, offset, d) : new Float32Array(memory.buffer, offset, d);
    for (let j = 0; j < d; j++) target[j]! += row[j]!;
  }
  return target;
}

/** Writes the gradient of b_dec: the sum of the output gradients and, but for a transcoder, what came through the encoder's input. Returns Σ of its squares. */
export function reduceDecoderBias(context: StepParts): number {
  const { dOut, transcoder } = context.memory.layout;
  const sum = sumThreadRows(context, "columns", new Float64Array(dOut));
  if (!transcoder) sumThreadRows(context, "bDecColumns", sum);
  context.memory.vector("gBDec").set(sum);
  let squares = 0;
  for (const value of sum) squares += value * value;
  return squares;
}

import { isSelected } from "./architecture.ts";
import type { ResolvedTrainerConfig } from "./config.ts";
import { latentVector } from "./penalised-state.ts";
import { Random } from "./random.ts";
import type { StepParts } from "./step-context.ts";
import type { TrainerMemory } from "./trainer-memory.ts";

/** A resampled latent's encoder row has this share of the mean norm of the others'. */
const encoderShare = 0.2;

/** Whether dead latents are resampled after a step, `done` being the number of steps with it. Not after the last: nothing would train them. */
export function isResampling({ resampleEverySteps: every, totalSteps }: Pick<ResolvedTrainerConfig, "resampleEverySteps" | "totalSteps">, done: number): boolean {
  return every > 0 && done % every === 0 && done < totalSteps;
}

/**
 * Gives the latents in the list `dead` new directions (Bricken et al. 2023, "Towards Monosemanticity", appendix "Neuron resampling"): rows of
 * the batch without b_dec, drawn without replacement with probability ∝ the square of their squared error. Decoder rows take the mean
 * norm of the others (1 where rows are unit vectors), encoder rows 0.2 of theirs; biases become 0, thresholds their initial value,
 * Adam's moments 0. Of more dead latents than rows a random choice waits for the next time.
 * The generator is the training's own, so that a continued training draws the same. Returns how many were resampled.
 */
export function resampleDead({ config, memory }: StepParts, numDead: number): number {
  const { at, h } = memory.layout;
  const random = Random.from(memory.random);
  const dead = Int32Array.from(new Int32Array(memory.buffer, at.dead, numDead));
  const alive = new Uint8Array(h).fill(1);
  for (const f of dead) alive[f] = 0;
  const encoderNorm = encoderShare * meanNorm(memory, "wEnc", alive);
  const decoderNorm = isSelected(config.architecture) ? 1 : meanNorm(memory, "wDec", alive);
  const draw = rowDrawer(memory, random);
  let done = 0;
  for (; done < dead.length; done++) {
    const row = draw();
    if (row === undefined) break;
    const other = done + (random.nextUint32() % (dead.length - done));
    const f = dead[other]!;
    dead[other] = dead[done]!;
    startLatent(memory, config, f, row, encoderNorm, decoderNorm);
  }
  memory.random = random.state;
  return done;
}

/** Mean norm of the rows of latents that are alive; of all when none is. */
function meanNorm(memory: TrainerMemory, region: "wEnc" | "wDec", alive: Uint8Array): number {
  const { d, h } = memory.layout;
  const all = !alive.includes(1);
  let [sum, count] = [0, 0];
  for (let f = 0; f < h; f++) {
    if (!all && alive[f] === 0) continue;
    sum += Math.sqrt(squaresOf(memory.row(region, f), d));
    count++;
  }
  return sum / count;
}

/** Draws rows of the batch, as unit vectors, each at most once; undefined when no badly reconstructed row is left. */
function rowDrawer({ buffer, layout: { at, batch, d, outer, stride } }: TrainerMemory, random: Random): () => Float64Array | undefined {
  const rowOf = (region: number, b: number): Float32Array => new Float32Array(buffer, region + b * stride, d);
  const norms = Float64Array.from({ length: batch }, (_, b) => Math.sqrt(squaresOf(rowOf(at.centered, b), d)));
  const weights = norms.map((norm, b) => (norm > 0 ? squaresOf(rowOf(outer, b), d) ** 2 : 0));
  return () => {
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    if (!(total > 0)) return undefined;
    let left = random.uniform(0, total);
    let drawn = -1;
    for (let b = 0; b < batch; b++) {
      const weight = weights[b]!;
      if (weight === 0) continue;
      drawn = b;
      left -= weight;
      if (left < 0) break;
    }
    weights[drawn] = 0;
    return Float64Array.from(rowOf(at.centered, drawn), (value) => value / norms[drawn]!);
  };
}

function startLatent(memory: TrainerMemory, config: ResolvedTrainerConfig, f: number, direction: Float64Array, encoderNorm: number, decoderNorm: number): void {
  const { d } = memory.layout;
  const encoder = memory.row("wEnc", f);
  encoder.set(direction.map((value) => value * encoderNorm));
  encoder[d] = 0;
  memory.row("wDec", f).set(direction.map((value) => value * decoderNorm));
  for (const moment of ["mEnc", "vEnc", "mDec", "vDec"] as const) memory.row(moment, f).fill(0);
  for (const name of memory.layout.penalised?.vectors ?? []) {
    latentVector(memory, name)[f] = name === "threshold" ? config.jumpreluInitThreshold : 0;
    for (const moment of ["mLatent", "vLatent"] as const) latentVector(memory, name, moment)[f] = 0;
  }
  memory.since[f] = 0n;
}

function squaresOf(values: Float32Array, d: number): number {
  let sum = 0;
  for (let i = 0; i < d; i++) sum += values[i]! * values[i]!;
  return sum;
}

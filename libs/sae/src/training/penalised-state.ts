import type { ResolvedTrainerConfig } from "./config.ts";
import type { OptimisedVector } from "./optimise.ts";
import type { Random } from "./random.ts";
import type { TrainerMemory } from "./trainer-memory.ts";

/** Regions of the vectors of one number a latent: themselves, their gradients, and the optimiser's two arrays. */
export type LatentRegion = "latent" | "gLatent" | "mLatent" | "vLatent";

/** What the optimiser moves besides matrices and b_dec. */
export function latentVectorsOf({ layout: { at, penalised } }: TrainerMemory): OptimisedVector[] {
  if (penalised === undefined || penalised.vectors.length === 0) return [];
  return [{ p: at.latent, g: at.gLatent, m: at.mLatent, v: at.vLatent, bytes: penalised.vectors.length * penalised.span }];
}

/** One of them, [d_sae], as a view. */
export function latentVector(memory: TrainerMemory, name: string, region: LatentRegion = "latent"): Float32Array {
  const { at, h, penalised } = memory.layout;
  return new Float32Array(memory.buffer, at[region] + penalised!.vectors.indexOf(name) * penalised!.span, h);
}

/** Which vectors a state of this architecture has, in its order, by their region. */
export function latentTensors(memory: TrainerMemory, [m, v]: readonly [m: string, v: string]): readonly (readonly [name: string, vector: Float32Array])[] {
  const prefixes: readonly (readonly [string, LatentRegion])[] = [["", "latent"], [m, "mLatent"], [v, "vLatent"]];
  return (memory.layout.penalised?.vectors ?? []).flatMap((name) => prefixes.map(([prefix, region]) => [`${prefix}${name}`, latentVector(memory, name, region)] as const));
}

/** The name of the bias in the encoder's column d. */
export function encoderBiasName({ architecture }: Pick<ResolvedTrainerConfig, "architecture">): "b_enc" | "b_gate" {
  return architecture === "gated" ? "b_gate" : "b_enc";
}

/**
 * Decoder rows of directions that are uniform in the cube, of norm decoderInitNorm, and the encoder's rows the same (SAELens), but for a
 * transcoder, whose outputs lie in another space; thresholds at jumpreluInitThreshold, every other number 0.
 */
export function initialisePenalised(memory: TrainerMemory, config: ResolvedTrainerConfig, random: Random, center: Float64Array | undefined): void {
  const { d, dOut, h, transcoder } = memory.layout;
  const direction = (width: number): Float64Array => {
    const row = Float64Array.from({ length: width }, () => random.uniform(-1, 1));
    const scale = config.decoderInitNorm / Math.hypot(...row);
    return row.map((value) => value * scale);
  };
  for (let f = 0; f < h; f++) {
    const encoder = direction(d);
    memory.row("wEnc", f).set(encoder);
    memory.row("wDec", f).set(transcoder ? direction(dOut) : encoder);
  }
  if (config.architecture === "jumprelu") latentVector(memory, "threshold").fill(config.jumpreluInitThreshold);
  if (center !== undefined) memory.vector("bDec").set(center);
}

/** Thresholds below 0 would let negative pre-activations through: they become 0, and still have a gradient there (SAELens). */
export function keepThresholds(memory: TrainerMemory): void {
  if (memory.layout.penalised?.vectors.includes("threshold") !== true) return;
  const thresholds = latentVector(memory, "threshold");
  for (let f = 0; f < thresholds.length; f++) if (thresholds[f]! < 0) thresholds[f] = 0;
}

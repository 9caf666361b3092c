import type { TrainerEncoder } from "./encoder.ts";
import type { KernelTeam } from "./kernel-team.ts";
import { Arg } from "./phase-args.ts";
import type { TrainerMemory } from "./trainer-memory.ts";

/** Largest score, as a cosine between a row and a latent of average length; more counts as more than anything. */
const scoreRange = 0.5;
const mostScore = 255;

/**
 * The k largest pre-activations of every row from an eighth of the time that all of them take in f32: candidates by 8-bit scores, their
 * values in f32, and a proof that no other latent has a larger one.
 *
 * A row is c = s·q + δc and a latent w = t·p + δw, q and p whole numbers up to 127, so that ⟨c, w⟩ = s·t·⟨q, p⟩ + ⟨δc, w⟩ + ⟨s·q, δw⟩. The
 * first term is the score, exact but for its rounding to a unit; the others are at most E = ‖δc‖·‖w‖ + ‖s·q‖·‖δw‖ (Cauchy-Schwarz).
 * Where k latents have a value of at least v, those with score + E < v cannot be among the k largest: everything else is computed. Rows
 * with too many candidates to list, or with values so small that a score of 0 could hide one, are encoded in f32 as a whole.
 */
export class Preselection {
  readonly #memory: TrainerMemory;
  readonly #team: KernelTeam;
  readonly #encoder: TrainerEncoder;

  constructor(memory: TrainerMemory, team: KernelTeam, encoder: TrainerEncoder) {
    this.#memory = memory;
    this.#team = team;
    this.#encoder = encoder;
  }

  /** Fills vals and idx [batch, k] with the k largest pre-activations of every row, in no order. */
  async encode(k: number): Promise<void> {
    const { at, batch, h, threads } = this.#memory.layout;
    const { buffer } = this.#memory;
    const { args } = this.#team;
    args[Arg.k] = k;
    const latentSquares = this.#team.run("quantize");
    const bounds = new Float32Array(buffer, at.inputBounds, batch * 4);
    let longest = 0;
    for (let row = 0; row < batch; row++) longest = Math.max(longest, bounds[row * 4 + 2]!);
    args[Arg.scoreUnit] = Math.fround((scoreRange * longest * Math.sqrt(latentSquares / h)) / mostScore);
    if (!(args[Arg.scoreUnit]! > 0 && args[Arg.scoreUnit]! < Infinity)) return await this.#encoder.encode(k);
    const failures = await this.#team.score();
    const failed = failures.flatMap((count, thread) => [...new Uint32Array(buffer, at.failedRows + Math.floor((batch * thread) / threads) * 4, count)]);
    if (failed.length * 2 > batch) await this.#encoder.encode(k);
    else if (failed.length > 0) await this.#encoder.encodeRows(failed, k);
  }
}

/** Scores of one sequence, clean and under the two edits; [n - 1] each. */
export interface ScoredSequence {
  readonly clean: Float32Array;
  readonly sae: Float32Array;
  readonly zero: Float32Array;
  /** KL(clean || SAE) and KL(clean || zero), nats. */
  readonly klSae: Float32Array;
  readonly klZero: Float32Array;
}

/** Cross-entropies in nats and what of them the SAE recovers. */
export interface Losses {
  readonly ceClean: number;
  readonly ceSae: number;
  readonly ceZero: number;
  /** (ce_zero - ce_sae) / (ce_zero - ce_clean). */
  readonly ceRecovered: number;
  /** Mean KL(clean || sae) a step. */
  readonly klSae: number;
  /** Mean KL(clean || zero) a step. */
  readonly klZero: number;
  /** 1 - KL(clean || sae) / KL(clean || zero). */
  readonly klRecovered: number;
}

/**
 * Sums of next-token losses in f64. A step counts when the token read and the token predicted are both no
 * special tokens: the residual of BOS stays untouched in all three runs, so its step says nothing.
 */
export class LossSums {
  #steps = 0;
  readonly #sums = { clean: 0, sae: 0, zero: 0, klSae: 0, klZero: 0 };

  /** @param special 1 for special tokens of the sequence [n]. */
  add(scores: ScoredSequence, special: Uint8Array): void {
    for (let step = 0; step < scores.clean.length; step += 1) {
      if (special[step] !== 0 || special[step + 1] !== 0) continue;
      this.#steps += 1;
      this.#sums.clean -= scores.clean[step] as number;
      this.#sums.sae -= scores.sae[step] as number;
      this.#sums.zero -= scores.zero[step] as number;
      this.#sums.klSae += scores.klSae[step] as number;
      this.#sums.klZero += scores.klZero[step] as number;
    }
  }

  /** @returns Undefined when no step counted. */
  figures(): Losses | undefined {
    if (this.#steps === 0) return undefined;
    const { clean, sae, zero, klSae, klZero } = this.#sums;
    return {
      ceClean: clean / this.#steps,
      ceSae: sae / this.#steps,
      ceZero: zero / this.#steps,
      ceRecovered: (zero - sae) / (zero - clean),
      klSae: klSae / this.#steps,
      klZero: klZero / this.#steps,
      klRecovered: 1 - klSae / klZero,
    };
  }
}

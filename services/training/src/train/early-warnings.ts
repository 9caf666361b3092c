import type { TrainerMetrics } from "@mistral-sae/sae";

/** State of the watch, kept with each checkpoint so that a resumed run warns as an undisturbed one. */
export interface WatchState {
  /** Smoothed loss; undefined before the first step. */
  readonly loss: number | undefined;
  readonly spikes: number;
  readonly deadWarned: number;
}

export const startOfWatch: WatchState = { loss: undefined, spikes: 0, deadWarned: 0 };

const SMOOTHING = 0.99;
/** Steps before the loss has settled. */
const SETTLING_STEPS = 200;
const SPIKE = 3;
const MOST_SPIKES = 5;
/** Shares of dead latents that are worth a word, in rising order. */
const DEAD_SHARES = [0.1, 0.25, 0.5, 0.75] as const;

/** Looks at each step for what a person would want to know early: sudden losses, dying latents. */
export class EarlyWarnings {
  #state: WatchState;
  readonly #warn: (text: string) => void;

  constructor(state: WatchState, warn: (text: string) => void) {
    this.#state = state;
    this.#warn = warn;
  }

  get state(): WatchState {
    return this.#state;
  }

  observe({ step, loss, deadFraction }: TrainerMetrics): void {
    const before = this.#state;
    const usual = before.loss ?? loss;
    let { spikes, deadWarned } = before;
    if (step > SETTLING_STEPS && loss > SPIKE * usual && spikes < MOST_SPIKES) {
      spikes += 1;
      const last = spikes === MOST_SPIKES ? "; further ones are not reported" : "";
      this.#warn(`the loss jumped at step ${step}: ${loss.toPrecision(4)} where ${usual.toPrecision(4)} was usual${last}`);
    }
    const limit = DEAD_SHARES[deadWarned];
    if (limit !== undefined && deadFraction > limit) {
      deadWarned = DEAD_SHARES.findLastIndex((share) => deadFraction > share) + 1;
      this.#warn(`${(deadFraction * 100).toFixed(1)}% of the latents are dead at step ${step}`);
    }
    this.#state = { loss: SMOOTHING * usual + (1 - SMOOTHING) * loss, spikes, deadWarned };
  }
}

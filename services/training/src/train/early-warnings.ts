import { architectureFacts, type ResolvedTrainerConfig, type TrainerMetrics } from "@mistral-sae/sae";

/** State of the watch, kept with each checkpoint so that a resumed run warns as an undisturbed one. */
export interface WatchState {
  /** Smoothed; undefined before the first step. */
  readonly smooth: Smooth | undefined;
  readonly spikes: number;
  readonly deadWarned: number;
  /** Of the warnings that come once, those that came. */
  readonly told: readonly string[];
}

type Smooth = Readonly<Record<"loss" | "mseLoss" | "sparsityLoss" | "fvu" | "l0", number>>;

export const startOfWatch: WatchState = { smooth: undefined, spikes: 0, deadWarned: 0, told: [] };

/** What a run aims at. */
export type WatchedConfig = Pick<ResolvedTrainerConfig, "architecture" | "dIn" | "dSae" | "k" | "kAnnealSteps" | "lrWarmUpSteps" | "l0WarmUpSteps" | "l1WarmUpSteps">;

const SMOOTHING = 0.99;
/** Steps, after all warm-ups, before the figures have settled. */
const SETTLING_STEPS = 200;
const SPIKE = 3;
const MOST_SPIKES = 5;
/** Shares of dead latents that are worth a word, in rising order. */
const DEAD_SHARES = [0.1, 0.25, 0.5, 0.75] as const;
/** Share of the selected features below which too few are positive. */
const LEAST_OF_K = 0.5;
const FEWEST_FEATURES = 1;
/** Sparsity over reconstruction loss, and variance unexplained, at which the one drowns the other. */
const SWAMPED = 3;
const UNEXPLAINED = 0.5;

/** Looks at each step for what a person would want to know early: sudden losses, dying latents, too few or too many features. */
export class EarlyWarnings {
  #state: WatchState;
  readonly #config: WatchedConfig;
  readonly #warn: (text: string) => void;
  readonly #settled: number;

  constructor(state: WatchState, config: WatchedConfig, warn: (text: string) => void) {
    // Checkpoints of an older service hold less.
    this.#state = { ...startOfWatch, ...state };
    this.#config = config;
    this.#warn = warn;
    const { kAnnealSteps, lrWarmUpSteps, l0WarmUpSteps, l1WarmUpSteps } = config;
    this.#settled = SETTLING_STEPS + Math.max(kAnnealSteps, lrWarmUpSteps, l0WarmUpSteps, l1WarmUpSteps);
  }

  get state(): WatchState {
    return this.#state;
  }

  observe(metrics: TrainerMetrics): void {
    const { step, loss, mseLoss, sparsityLoss, fvu, l0 } = metrics;
    const usual = this.#state.smooth ?? { loss, mseLoss, sparsityLoss, fvu, l0 };
    const mix = (before: number, now: number): number => SMOOTHING * before + (1 - SMOOTHING) * now;
    const smooth: Smooth = {
      loss: mix(usual.loss, loss),
      mseLoss: mix(usual.mseLoss, mseLoss),
      sparsityLoss: mix(usual.sparsityLoss, sparsityLoss),
      fvu: mix(usual.fvu, fvu),
      l0: mix(usual.l0, l0),
    };
    this.#state = { ...this.#state, smooth, spikes: this.#spikes(metrics, usual.loss), deadWarned: this.#dead(metrics) };
    if (step > this.#settled) this.#sparsity(step, smooth);
  }

  #spikes({ step, loss }: TrainerMetrics, usual: number): number {
    const { spikes } = this.#state;
    if (step <= SETTLING_STEPS || loss <= SPIKE * usual || spikes === MOST_SPIKES) return spikes;
    const last = spikes + 1 === MOST_SPIKES ? "; further ones are not reported" : "";
    this.#warn(`the loss jumped at step ${step}: ${loss.toPrecision(4)} where ${usual.toPrecision(4)} was usual${last}`);
    return spikes + 1;
  }

  #dead({ step, deadFraction }: TrainerMetrics): number {
    const { deadWarned } = this.#state;
    const limit = DEAD_SHARES[deadWarned];
    if (limit === undefined || deadFraction <= limit) return deadWarned;
    this.#warn(`${(deadFraction * 100).toFixed(1)}% of the latents are dead at step ${step}`);
    return DEAD_SHARES.findLastIndex((share) => deadFraction > share) + 1;
  }

  #sparsity(step: number, { l0, fvu, mseLoss, sparsityLoss }: Smooth): void {
    const { architecture, dIn, dSae, k } = this.#config;
    const at = `at step ${step}`;
    if (architectureFacts[architecture].sparsity === "selected") {
      if (l0 < LEAST_OF_K * k) this.#once("few", `L0 is ${l0.toPrecision(3)} ${at} where k is ${k}: most of the features selected are not positive`);
      return;
    }
    const coefficient = architecture === "jumprelu" ? "l0_coefficient" : "l1_coefficient";
    if (l0 < FEWEST_FEATURES) this.#once("few", `L0 is ${l0.toPrecision(3)} ${at}: hardly any feature fires, a smaller ${coefficient} lets more of them`);
    if (l0 > Math.min(dIn, dSae / 4)) this.#once("many", `L0 is ${l0.toPrecision(3)} of ${dSae} features ${at}: that is hardly sparse, a larger ${coefficient} keeps fewer`);
    if (sparsityLoss > SWAMPED * mseLoss && fvu > UNEXPLAINED) {
      const share = `${(fvu * 100).toFixed(0)}% of the variance unexplained`;
      this.#once("swamped", `the sparsity loss is ${(sparsityLoss / mseLoss).toPrecision(3)} times the reconstruction loss ${at}, with ${share}: a smaller ${coefficient} leaves room to reconstruct`);
    }
  }

  #once(what: string, text: string): void {
    if (this.#state.told.includes(what)) return;
    this.#state = { ...this.#state, told: [...this.#state.told, what] };
    this.#warn(text);
  }
}

import { InputError } from "@mistral-sae/tensor";
import type { SaeWeights } from "../formats/weights.ts";
import { isSelected } from "./architecture.ts";
import type { ResolvedTrainerConfig } from "./config.ts";
import { startOptimiser } from "./optimise.ts";
import { initialisePenalised } from "./penalised-state.ts";
import { Random } from "./random.ts";
import { measureSample } from "./sample.ts";
import type { TrainerMemory } from "./trainer-memory.ts";
import { unfoldWhitening, whiteningOf, writeWhitening } from "./whitening.ts";
import { adoptWeights, requireAdoptable } from "./weights.ts";

/** What a training starts from besides its configuration. */
export interface TrainerInit {
  /**
   * Raw rows [n, d_in] of the data, of a transcoder [n, d_in + d_out], some ten thousand of them. They decide b_dec, the factor of the loss and the factor of
   * expected_average_only_in; gao needs them unless it gets mseScale and needs neither of the others.
   */
  readonly sample?: Float32Array | undefined;
  /** Start from these weights instead of random ones. */
  readonly weights?: SaeWeights | undefined;
  /** A saved state will be restored before the first step: nothing is measured or drawn, and steps are refused until then. */
  readonly restored?: boolean | undefined;
}

/** Refuses what cannot be started from. Throws InputError. */
export function checkInit(config: ResolvedTrainerConfig, { sample, weights, restored = false }: TrainerInit): void {
  if (restored) return;
  if (weights !== undefined) requireAdoptable(config, weights);
  if (config.formulation === "seed_compat" || sample !== undefined) return;
  const centered = weights === undefined && config.bDecInitMethod !== "zeros";
  const scaled = config.normalizeActivations === "expected_average_only_in" || config.normalizeActivations === "covariance_whitening";
  if (!centered && !scaled && config.mseScale !== undefined) return;
  const need = scaled ? config.normalizeActivations : centered ? `b_dec from ${config.bDecInitMethod}` : "the factor of the loss";
  throw new InputError(`${need} is measured on a sample of the data`, { field: "sample", got: "nothing", wanted: "rows" });
}

/** Writes the weights before the first step. Throws InputError as checkInit does, and for a sample without finite variance. */
export function initialise(memory: TrainerMemory, config: ResolvedTrainerConfig, init: TrainerInit): void {
  checkInit(config, init);
  const { sample, weights, restored = false } = init;
  if (restored) return;
  const random = new Random(config.seed);
  const seedCompat = config.formulation === "seed_compat";
  const statistics = sample === undefined || seedCompat ? undefined : measureSample(sample, config);
  memory.step = 0;
  memory.inputScale = statistics?.inputScale ?? 1;
  memory.outputScale = statistics?.outputScale ?? 1;
  const whitening = statistics?.whitening;
  if (whitening !== undefined) writeWhitening(memory, whitening);
  memory.mseScale = config.mseScale ?? statistics?.mseScale ?? 1;
  if (weights !== undefined) adoptWeights(memory, config, whitening === undefined ? weights : unfoldWhitening(weights, whiteningOf(whitening)));
  else if (seedCompat) initialiseSeed(memory, random);
  else if (isSelected(config.architecture)) initialiseGao(memory, random, statistics?.center);
  else initialisePenalised(memory, config, random, statistics?.center);
  startOptimiser(memory, config);
  memory.random = random.state;
}

/**
 * W_enc[f] ~ U(±1/√d), W_dec[f] = W_enc[f] / ‖W_enc[f]‖, b_enc = 0 (OpenAI's train.py). A transcoder's outputs lie in another space:
 * its W_dec[f] is a random direction of its own, W_skip = 0.
 */
function initialiseGao(memory: TrainerMemory, random: Random, center: Float64Array | undefined): void {
  const { d, dOut, h, transcoder } = memory.layout;
  const bound = 1 / Math.sqrt(d);
  for (let f = 0; f < h; f++) {
    const encoder = memory.row("wEnc", f);
    let squares = 0;
    for (let i = 0; i < d; i++) {
      encoder[i] = random.uniform(-bound, bound);
      squares += encoder[i]! ** 2;
    }
    const decoder = memory.row("wDec", f);
    const direction = transcoder ? Float64Array.from({ length: dOut }, () => random.uniform(-1, 1)) : encoder;
    const norm = transcoder ? Math.hypot(...direction) : Math.sqrt(squares);
    for (let i = 0; i < dOut; i++) decoder[i] = direction[i]! / norm;
  }
  if (center !== undefined) memory.vector("bDec").set(center);
}

/** W_enc ~ U(±1/√h); W_dec = W_enc with every model dimension's norm over the latents 1, as the original does it. */
function initialiseSeed(memory: TrainerMemory, random: Random): void {
  const { d, h } = memory.layout;
  const bound = 1 / Math.sqrt(h);
  const squares = new Float64Array(d);
  for (let f = 0; f < h; f++) {
    const encoder = memory.row("wEnc", f);
    for (let i = 0; i < d; i++) {
      encoder[i] = random.uniform(-bound, bound);
      squares[i]! += encoder[i]! ** 2;
    }
  }
  for (let f = 0; f < h; f++) {
    const encoder = memory.row("wEnc", f);
    const decoder = memory.row("wDec", f);
    for (let i = 0; i < d; i++) decoder[i] = encoder[i]! / Math.sqrt(squares[i]!);
  }
}

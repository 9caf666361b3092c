import { architectureFacts, HybridTrainer, loadSae, type SaeWeights, TRAINED_ARCHITECTURES, type TrainedArchitecture, type TrainerConfig, type TrainerMetrics, trainerDefaults, writeSae } from "@mistral-sae/sae";
import { availableParallelism } from "node:os";
import type { CommandContext } from "../command.ts";
import { badInput, formatCount, formatFields, formatNumber, formatSeconds } from "../output.ts";
import { userPath } from "../paths.ts";
import { architectureOptions } from "./architecture-options.ts";
import { ActivationFiles } from "./activation-files.ts";
import { orderedFeed, rowStoreBytes, shuffledFeed } from "./row-feed.ts";
import { fitted } from "./fitted.ts";
import type { HyperParameterOptions, LocalOptions } from "./train-options.ts";

/** What a training on files came to; keys as they are printed with --json. */
export interface LocalTrainingResult {
  readonly out: string;
  readonly weights_sha256: string;
  readonly steps: number;
  readonly n_training_tokens: number;
  readonly loss: number;
  readonly mse_loss: number;
  readonly aux_loss: number;
  readonly sparsity_loss: number;
  readonly fvu: number;
  readonly l0: number;
  readonly num_dead: number;
  readonly dead_fraction: number;
  readonly grad_norm: number;
  readonly lr: number;
  readonly seconds: number;
  readonly tokens_per_second: number;
}

/** Rows of the sample that decides b_dec and the factors, taken in pieces from all over the files. */
const sampleRows = 32_768;
const samplePieces = 64;
/** AdamW's decay where none is given, as in PyTorch. */
const adamwDecay = 0.01;
/** Most bytes of rows held for shuffling; the weights share their memory. */
const mostStoreBytes = 1.5 * 2 ** 30;

/**
 * Trains an SAE on rows from files, in this process, and writes it as a SAELens folder. Shows the metrics of the last step.
 * Throws InputError or bad input for files, weights and options that do not fit together; nothing is written then, nor when aborted.
 */
export async function runLocalTraining({ output, signal }: Pick<CommandContext, "output" | "signal">, given: HyperParameterOptions & LocalOptions): Promise<LocalTrainingResult> {
  const out = given.out === undefined ? undefined : userPath(given.out);
  if (out === undefined) throw badInput("no folder to write the SAE to", { field: "--out", wanted: "a folder" });
  await using files = await ActivationFiles.open((given.activations ?? []).map(userPath), given.tensor ?? "x");
  const options = fitted(given, { dModel: files.dIn }, output);
  const start = options.initFrom === undefined ? undefined : (await loadSae(userPath(options.initFrom))).sae;
  const shuffle = options.shuffle ?? true;
  const config = { ...configOf(options, files, start), ...(shuffle ? { rowStoreBytes: rowStoreBytes(files, mostStoreBytes, options.bufferTokens) } : {}) };
  await using trainer = await HybridTrainer.create(config, { sample: options.formulation === "seed_compat" ? undefined : await sample(files), weights: start });
  const feed = shuffle ? shuffledFeed(files, trainer) : orderedFeed(files, trainer);
  const { totalSteps, trainBatchSizeTokens: batch } = trainer.config;

  const progress = output.progress("train");
  const began = performance.now();
  let last: TrainerMetrics | undefined;
  let running: Promise<TrainerMetrics> | undefined;
  try {
    for (let step = 0; step < totalSteps; step++) {
      signal.throwIfAborted();
      const slot = step % trainer.slots;
      // A step is asked for while the one before it runs, so that the trainer never waits for rows.
      await feed.fill(slot);
      const asked = trainer.step(slot);
      asked.catch(() => undefined);
      if (running !== undefined) last = await running;
      if (last !== undefined) progress.update({ done: last.step, total: totalSteps, unit: "steps", figures: figuresOf(last, (performance.now() - began) / 1000) });
      running = asked;
    }
    last = await running;
  } finally {
    progress.finish();
  }
  if (last === undefined) throw badInput("no step to train", { field: "--steps", got: totalSteps, wanted: "at least 1" });
  const seconds = (performance.now() - began) / 1000;
  const metadata = { ...start?.config.metadata, ...(options.hookName === undefined ? {} : { hook_name: options.hookName }), ...(options.modelName === undefined ? {} : { model_name: options.modelName }) };
  const written = await writeSae(out, await trainer.weights(metadata));
  const result: LocalTrainingResult = {
    out: written.folder,
    weights_sha256: written.weightsSha256,
    steps: last.step,
    n_training_tokens: last.nTrainingTokens,
    loss: last.loss,
    mse_loss: last.mseLoss,
    aux_loss: last.auxLoss,
    sparsity_loss: last.sparsityLoss,
    fvu: last.fvu,
    l0: last.l0,
    num_dead: last.numDead,
    dead_fraction: last.deadFraction,
    grad_norm: last.gradNorm,
    lr: last.lr,
    seconds,
    tokens_per_second: (totalSteps * batch) / seconds,
  };
  output.result(result, () => describe(result));
  return result;
}

function configOf(options: HyperParameterOptions & LocalOptions, files: ActivationFiles, start: SaeWeights | undefined): TrainerConfig {
  const dSae = options.dSae ?? start?.config.dSae;
  const architecture = options.architecture ?? startArchitecture(start) ?? trainerDefaults.architecture;
  const counted = architectureFacts[architecture].k !== "none";
  const k = options.k ?? (counted ? start?.config.k : undefined);
  if (dSae === undefined) throw badInput("the width of the SAE is not known", { field: "--d-sae", wanted: "--d-sae, or an SAE to start from (--init-from)" });
  if (k === undefined && counted) throw badInput("the features a row are not known", { field: "--k", wanted: "--k, or an SAE to start from (--init-from)" });
  if (options.optimizer === "adam" && (options.weightDecay ?? 0) > 0) {
    throw badInput("weight decay is decoupled here, which is AdamW", { field: "--optimizer", got: "adam", wanted: "adamw" });
  }
  const batch = options.batchTokens ?? trainerDefaults.trainBatchSizeTokens;
  const rules = [options.steps, options.trainingTokens, options.epochs].filter((value) => value !== undefined).length;
  if (rules > 1) throw badInput("the length of the training is given twice", { field: "--steps", wanted: "one of --steps, --training-tokens and --epochs" });
  const tokens = options.steps === undefined ? (options.trainingTokens ?? Math.floor((options.epochs ?? 1) * files.rows)) : options.steps * batch;
  if (tokens < batch) throw badInput("the rows do not make one batch", { field: "--batch-tokens", got: batch, wanted: `at most ${tokens}`, hint: "train on more rows, or in smaller batches" });
  // Without a wish, an SAE to start from keeps its own normalisation; in a folder expected_average_only_in reads as none.
  const inherited = start === undefined || start.config.normalizeActivations === "none" ? undefined : start.config.normalizeActivations;
  return {
    ...architectureOptions(options),
    architecture,
    dIn: files.dIn,
    dSae,
    k,
    trainingTokens: tokens,
    trainBatchSizeTokens: batch,
    formulation: options.formulation,
    normalizeActivations: (options.normalizeActivations as TrainerConfig["normalizeActivations"]) ?? inherited,
    lr: options.lr,
    lrScheduler: options.lrScheduler,
    lrWarmUpSteps: options.lrWarmUpSteps,
    lrDecaySteps: options.lrDecaySteps,
    kAux: options.kAux,
    auxLossCoefficient: options.auxLossCoefficient,
    deadFeatureWindowTokens: options.deadTokens,
    deadSteps: options.deadSteps,
    adamBeta1: options.adamBeta1,
    adamBeta2: options.adamBeta2,
    adamEpsilon: options.adamEpsilon,
    weightDecay: options.weightDecay ?? (options.optimizer === "adamw" ? adamwDecay : undefined),
    gradClipNorm: options.gradClipNorm,
    bDecInitMethod: options.bDecInitMethod,
    optimizer: options.optimizer === "adamw" ? "adam" : options.optimizer,
    seed: options.seed,
    threads: options.threads ?? availableParallelism(),
  };
}

/** The kind of the SAE to start from, where it is one that is trained under that name. */
function startArchitecture(start: SaeWeights | undefined): TrainedArchitecture | undefined {
  return TRAINED_ARCHITECTURES.find((name) => name === start?.config.architecture);
}

async function sample(files: ActivationFiles): Promise<Float32Array> {
  if (files.rows <= sampleRows) return await files.readF32(0, files.rows);
  const piece = sampleRows / samplePieces;
  const rows = new Float32Array(sampleRows * files.dIn);
  for (let i = 0; i < samplePieces; i++) {
    const start = Math.floor((i * (files.rows - piece)) / (samplePieces - 1));
    rows.set(await files.readF32(start, start + piece), i * piece * files.dIn);
  }
  return rows;
}

function figuresOf(metrics: TrainerMetrics, seconds: number): Readonly<Record<string, string>> {
  return {
    FVU: metrics.fvu.toFixed(4),
    L0: metrics.l0.toFixed(1),
    dead: `${(metrics.deadFraction * 100).toFixed(1)}%`,
    ...(metrics.sparsityLoss > 0 ? { sparsity: metrics.sparsityLoss.toPrecision(3) } : {}),
    "tokens/s": formatCount(metrics.nTrainingTokens / seconds),
  };
}

function describe(result: LocalTrainingResult): string {
  return formatFields([
    ["steps", formatCount(result.steps)],
    ["tokens trained", formatCount(result.n_training_tokens)],
    ["loss", result.loss],
    ["FVU of the last batch", result.fvu],
    ["L0", result.l0],
    ["dead latents", `${formatCount(result.num_dead)} (${formatNumber(result.dead_fraction * 100)}%)`],
    ["time", `${formatSeconds(result.seconds)}, ${formatCount(result.tokens_per_second)} tokens/s`],
    ["SAE folder", result.out],
    ["weights sha256", result.weights_sha256],
  ]);
}

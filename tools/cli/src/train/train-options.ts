import type { TrainedArchitecture } from "@mistral-sae/sae";
import { Option, type Command } from "commander";
import { decimal, integer, repeated } from "../command.ts";
import { addArchitectureOptions, type ArchitectureOptions } from "./architecture-options.ts";
import { presets } from "./presets.ts";

/** Hyper-parameters of a training as given on the command line; what is absent is the trainer's default. */
export interface HyperParameterOptions extends ArchitectureOptions {
  readonly preset?: string;
  readonly formulation?: "gao" | "seed_compat";
  readonly architecture?: TrainedArchitecture;
  readonly dSae?: number;
  readonly k?: number;
  readonly normalizeActivations?: string;
  readonly batchTokens?: number;
  readonly trainingTokens?: number;
  readonly steps?: number;
  readonly lr?: number;
  readonly lrScheduler?: "constant" | "linear" | "cosine";
  readonly lrWarmUpSteps?: number;
  readonly lrDecaySteps?: number;
  readonly kAux?: number;
  readonly auxLossCoefficient?: number;
  readonly deadTokens?: number;
  readonly optimizer?: "adam" | "adamw" | "signum_schedule_free";
  readonly adamBeta1?: number;
  readonly adamBeta2?: number;
  readonly adamEpsilon?: number;
  readonly weightDecay?: number;
  readonly gradClipNorm?: number;
  readonly bDecInitMethod?: "mean" | "geometric_median" | "zeros";
  readonly bufferTokens?: number;
  readonly initFrom?: string;
  readonly hookName?: string;
  readonly seed?: number;
  readonly threads?: number;
}

/** Options of a training on rows from files. */
export interface LocalOptions {
  readonly activations?: readonly string[];
  readonly tensor?: string;
  readonly out?: string;
  /** False with --no-shuffle. */
  readonly shuffle?: boolean;
  readonly epochs?: number;
  readonly deadSteps?: number;
  readonly modelName?: string;
}

/** Options of a training run on the service. */
export interface RemoteOptions {
  readonly model?: string;
  readonly corpus?: readonly string[];
  readonly activationSet?: string;
  readonly activationSetOut?: string;
  readonly hookNameOut?: string;
  readonly streamActivations?: boolean;
  readonly activationDiskBytes?: number;
  readonly contextSize?: number;
  readonly activationDtype?: "f32" | "f16" | "bf16";
  readonly checkpointEvery?: number;
  readonly evalCorpus?: readonly string[];
  readonly evalTokens?: number;
  readonly runId?: string;
  readonly requestId?: string;
  readonly detach?: boolean;
  readonly validateOnly?: boolean;
}

export type TrainOptions = HyperParameterOptions & LocalOptions & RemoteOptions;

/** Adds all options of `train`. */
export function addTrainOptions(command: Command): Command {
  addHyperParameterOptions(command);
  addArchitectureOptions(command);
  addLocalOptions(command);
  addTextOptions(command);
  return command
    .option("--run-id <id>", "id of the run")
    .option("--request-id <id>", "makes the call idempotent")
    .option("--detach", "start the run and return at once")
    .option("--validate-only", "check the configuration and show it with its defaults");
}

/** Adds what decides the weights, of every kind of SAE. */
export function addHyperParameterOptions(command: Command): Command {
  return command
    .optionsGroup("Hyper-parameters:")
    .addOption(new Option("--preset <name>", "options of a well-known training, at the shape of the model at hand; options given beside it go first").choices(Object.keys(presets)))
    .addOption(new Option("--formulation <name>", "gao: Gao et al. 2024; seed_compat: the original mistral-sae's step (default: gao)").choices(["gao", "seed_compat"]))
    .option("--d-sae <n>", "width of the SAE; that of --init-from otherwise", integer({ min: 1 }))
    .option("--k <n>", "features a row (topk, abstopk) or of a mean row (batchtopk, matryoshka_batchtopk); that of --init-from otherwise", integer({ min: 1 }))
    .addOption(
      new Option("--normalize-activations <kind>", "input scaling (default: expected_average_only_in, layer_norm for seed_compat, or that of --init-from)").choices(["none", "layer_norm", "expected_average_only_in", "constant_norm_rescale", "covariance_whitening"]),
    )
    .option("--batch-tokens <n>", "rows of a step (default: 1024)", integer({ min: 1 }))
    .option("--training-tokens <n>", "rows to train on, several passes included", integer({ min: 1 }))
    .option("--steps <n>", "steps to train, in place of --training-tokens", integer({ min: 1 }))
    .option("--lr <rate>", "learning rate (default: 2e-4 / sqrt(d_sae / 16384))", decimal({ min: 0 }))
    .addOption(new Option("--lr-scheduler <shape>", "shape of the decay (default: constant)").choices(["constant", "linear", "cosine"]))
    .option("--lr-warm-up-steps <n>", "steps of linear warm-up (default: 0)", integer({ min: 0 }))
    .option("--lr-decay-steps <n>", "last steps over which the rate falls to zero (default: 0; all after the warm-up for linear and cosine)", integer({ min: 0 }))
    .option("--k-aux <n>", "dead latents in the auxiliary reconstruction, 0 for none (default: min(256, d_in / 2))", integer({ min: 0 }))
    .option("--aux-loss-coefficient <c>", "weight of the auxiliary loss (default: 1/32)", decimal({ min: 0 }))
    .option("--dead-tokens <n>", "rows without firing after which a latent is dead (default: 10,000,000); seed_compat takes 256 of them for a step", decimal({ min: 1 }))
    .addOption(new Option("--optimizer <name>", "adam, with decoupled weight decay as in AdamW, or signum_schedule_free (default: adam)").choices(["adam", "adamw", "signum_schedule_free"]))
    .option("--adam-beta1 <b>", "(default: 0.9)", decimal({ min: 0, max: 1 }))
    .option("--adam-beta2 <b>", "(default: 0.999)", decimal({ min: 0, max: 1 }))
    .option("--adam-epsilon <e>", "(default: 6.25e-10)", decimal({ min: 0 }))
    .option("--weight-decay <w>", "decoupled weight decay (default: 0; seed_compat 0.01)", decimal({ min: 0 }))
    .option("--grad-clip-norm <n>", "clip the gradient to this norm, 0 never (default: 1)", decimal({ min: 0 }))
    .addOption(new Option("--b-dec-init-method <method>", "where b_dec starts (default: mean)").choices(["mean", "geometric_median", "zeros"]))
    .option("--buffer-tokens <n>", "rows to shuffle among; what fits in memory otherwise", integer({ min: 1 }))
    .option("--init-from <folder>", "SAE folder to start from")
    .option("--hook-name <hook>", "hook that the rows come from, e.g. blocks.2.hook_resid_pre")
    .option("--seed <n>", "seed of initial weights and shuffling (default: 0)", integer({ min: 0 }))
    .option("--threads <n>", "threads; equal threads give equal bits", integer({ min: 1, max: 64 }));
}

function addLocalOptions(command: Command): Command {
  return command
    .optionsGroup("Training on rows from files, in this process:")
    .option("--activations <file.safetensors>", "rows [n, d_in], F32, F16 or BF16; give it again for more files, which follow each other", repeated)
    .option("--tensor <name>", "the tensor that holds the rows", "x")
    .option("--out <folder>", "SAELens folder to write")
    .option("--no-shuffle", "take the rows in file order, from the start again after the last")
    .option("--epochs <n>", "passes over the rows, in place of --steps (default: 1)", decimal({ min: 0 }))
    .option("--dead-steps <n>", "seed_compat: the dead rule in steps, in place of --dead-tokens", decimal({ min: 0 }))
    .option("--model-name <name>", "model that the rows come from, for the folder's metadata");
}

/** Adds what a training on text takes beside that. */
export function addTextOptions(command: Command): Command {
  return command
    .optionsGroup("Training on text, by the training service:")
    .option("--model <model>", "models/{model} or its id; the only one loaded otherwise")
    .option("--corpus <path>", "file, folder or glob of text; may be given again", repeated)
    .option("--activation-set <set>", "rows that the service holds, or that it reads from files, in place of text: activationSets/{set}, its id, or a path")
    .option("--activation-set-out <set>", "the outputs that belong to them: a transcoder")
    .option("--hook-name-out <hook>", "reconstruct this hook from --hook-name: a transcoder")
    .option("--stream-activations", "train while harvesting goes on, not after it")
    .option("--activation-disk-bytes <n>", "most bytes of stored activations at a time; all are kept otherwise", integer({ min: 1 }))
    .option("--context-size <n>", "tokens of a window, BOS included (default: 128)", integer({ min: 2 }))
    .addOption(new Option("--activation-dtype <type>", "type of stored activations (default: bf16)").choices(["f32", "f16", "bf16"]))
    .option("--checkpoint-every <n>", "steps between checkpoints (default: 500)", integer({ min: 1 }))
    .option("--eval-corpus <path>", "text to evaluate on; the held-back documents of --corpus otherwise", repeated)
    .option("--eval-tokens <n>", "tokens to evaluate on (default: 200,000)", integer({ min: 1 }));
}

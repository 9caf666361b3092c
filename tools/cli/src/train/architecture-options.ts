import { TRAINED_ARCHITECTURES } from "@mistral-sae/sae";
import { Option, type Command } from "commander";
import { decimal, integer, integerList } from "../command.ts";

/** Options that some kinds of SAE take, under the names that the trainer and the contract have for them. */
export interface ArchitectureOptions {
  readonly kStart?: number;
  readonly kAnnealSteps?: number;
  readonly matryoshkaWidths?: readonly number[];
  readonly topkThresholdLr?: number;
  readonly l1Coefficient?: number;
  readonly l1WarmUpSteps?: number;
  readonly lpNorm?: number;
  readonly l0Coefficient?: number;
  readonly l0WarmUpSteps?: number;
  readonly jumpreluInitThreshold?: number;
  readonly jumpreluBandwidth?: number;
  readonly jumpreluSparsityLossMode?: "step" | "tanh";
  readonly jumpreluTanhScale?: number;
  readonly jumpreluSteToInput?: boolean;
  readonly preActLossCoefficient?: number;
  readonly decoderInitNorm?: number;
  readonly resampleEverySteps?: number;
  readonly mseScale?: number;
  readonly skipConnection?: boolean;
}

const NAMES = {
  kStart: true,
  kAnnealSteps: true,
  matryoshkaWidths: true,
  topkThresholdLr: true,
  l1Coefficient: true,
  l1WarmUpSteps: true,
  lpNorm: true,
  l0Coefficient: true,
  l0WarmUpSteps: true,
  jumpreluInitThreshold: true,
  jumpreluBandwidth: true,
  jumpreluSparsityLossMode: true,
  jumpreluTanhScale: true,
  jumpreluSteToInput: true,
  preActLossCoefficient: true,
  decoderInitNorm: true,
  resampleEverySteps: true,
  mseScale: true,
  skipConnection: true,
} as const satisfies Record<keyof ArchitectureOptions, true>;

/** Those of the options that were given. */
export function architectureOptions(options: ArchitectureOptions): ArchitectureOptions {
  return Object.fromEntries((Object.keys(NAMES) as (keyof ArchitectureOptions)[]).flatMap((name) => (options[name] === undefined ? [] : [[name, options[name]]])));
}

/** Adds the options; one that the architecture does not take is refused by the trainer, naming it. */
export function addArchitectureOptions(command: Command): Command {
  return command
    .optionsGroup("Options of some architectures:")
    .addOption(new Option("--architecture <name>", "kind of SAE (default: topk)").choices(TRAINED_ARCHITECTURES))
    .option("--k-start <n>", "features at the first step, falling to k over --k-anneal-steps (selected by k)", integer({ min: 1 }))
    .option("--k-anneal-steps <n>", "steps over which --k-start falls to k", integer({ min: 0 }))
    .option("--matryoshka-widths <a,b,...>", "matryoshka_batchtopk: rising widths of the nested levels; d_sae is added", integerList({ min: 1 }))
    .option("--topk-threshold-lr <r>", "batchtopk, matryoshka_batchtopk: rate of the threshold for inference (default: 0.01)", decimal({ min: 0, max: 1 }))
    .option("--l1-coefficient <c>", "standard, gated: weight of the sparsity loss (default: 1)", decimal({ min: 0 }))
    .option("--l1-warm-up-steps <n>", "standard, gated: steps over which it grows from 0", integer({ min: 0 }))
    .option("--lp-norm <p>", "standard: p of the sparsity norm (default: 1)", decimal({ min: 0 }))
    .option("--l0-coefficient <c>", "jumprelu: weight of the sparsity loss (default: 1)", decimal({ min: 0 }))
    .option("--l0-warm-up-steps <n>", "jumprelu: steps over which it grows from 0", integer({ min: 0 }))
    .option("--jumprelu-init-threshold <t>", "(default: 0.01)", decimal({ min: 0 }))
    .option("--jumprelu-bandwidth <w>", "width of the estimator's kernel (default: 0.05)", decimal({ min: 0 }))
    .addOption(new Option("--jumprelu-sparsity-loss-mode <mode>", "(default: step)").choices(["step", "tanh"]))
    .option("--jumprelu-tanh-scale <s>", "(default: 4)", decimal({ min: 0 }))
    .option("--jumprelu-ste-to-input", "pass the estimator's gradient to the pre-activations too")
    .option("--pre-act-loss-coefficient <c>", "jumprelu: weight of the loss on pre-activations of dead latents (default: none)", decimal({ min: 0 }))
    .option("--decoder-init-norm <n>", "standard, gated, jumprelu: norm of decoder rows at the start (default: 0.3)", decimal({ min: 0 }))
    .option("--resample-every-steps <n>", "steps between resamplings of dead latents, 0 never (default: 0)", integer({ min: 0 }))
    .option("--mse-scale <s>", "factor of the mean squared error (default: 1 / variance of the rows; d_in for standard, gated and jumprelu; seed_compat 1/19.9776)", decimal({ min: 0 }))
    .option("--skip-connection", "transcoders: learn a linear map from input to output too");
}

import { badInput } from "../output.ts";
import type { TrainOptions } from "./train-options.ts";

/** Shape of the model that is at hand; of rows from files only their width is known. */
export interface ModelShape {
  readonly dModel: number;
  readonly nLayers?: number | undefined;
  /** Longest context. */
  readonly nCtx?: number | undefined;
}

/** Options of a well-known training, at the shape of the model that it belongs to. */
export interface Preset {
  readonly description: string;
  readonly model: { readonly dModel: number; readonly nLayers: number; readonly nCtx: number };
  /** The SAE reads the residual after this block. */
  readonly block: number;
  readonly options: TrainOptions & Required<Pick<TrainOptions, "dSae" | "k" | "kAux" | "contextSize" | "trainingTokens" | "deadTokens">>;
  /** What the preset is trained on, for a person to fetch. */
  readonly text: string;
}

/** All presets, by name. */
export const presets: Readonly<Record<string, Preset>> = {
  "mistral-7b-layer16": {
    description: "the original mistral-sae: Mistral-7B, the residual after block 16, 131,072 features",
    model: { dModel: 4096, nLayers: 32, nCtx: 32_768 },
    block: 16,
    options: {
      // The original's own step; --formulation gao keeps the numbers and trains with the step's faults mended.
      formulation: "seed_compat",
      architecture: "topk",
      dSae: 131_072,
      k: 128,
      // Its auxiliary loss takes half as many dead features as a row has values, whatever its auxk says.
      kAux: 2048,
      auxLossCoefficient: 1 / 32,
      deadTokens: 10_000_000,
      normalizeActivations: "layer_norm",
      optimizer: "adamw",
      weightDecay: 0.01,
      batchTokens: 1024,
      contextSize: 256,
      // It names no end of its own.
      trainingTokens: 1_000_000_000,
    },
    text: "the Pile (monology/pile-uncopyrighted)",
  },
};

/** Options of a preset for a model, and what of them is not as the preset has it. */
export interface FittedPreset {
  readonly options: TrainOptions;
  /** One line a change: what, from, to and why. */
  readonly changes: readonly string[];
}

/** The preset of this name. Throws bad input naming those that there are. */
export function presetNamed(name: string): Preset {
  const preset = presets[name];
  if (preset === undefined) throw badInput(`no preset is called ${name}`, { field: "--preset", got: name, wanted: Object.keys(presets).join(", ") });
  return preset;
}

/**
 * A preset at the shape of a model. Widths keep their ratio to the model's (d_sae 32 d_in, k d_in / 32, k_aux d_in / 2), the block
 * its relative depth, rows to train on their ratio to the SAE's parameters, and the window of dead features its share of them.
 * What else follows from these (the learning rate of the trainer's rule) is left to the trainer.
 */
export function fitPreset({ model, block, options }: Preset, shape: ModelShape): FittedPreset {
  const { dModel, nLayers, nCtx = model.nCtx } = shape;
  const changes: string[] = [];
  const change = (name: string, from: number | string, to: number | string, why: string): void => {
    if (from !== to) changes.push(`${name} ${text(from)} -> ${text(to)} (${why})`);
  };
  const width = dModel / model.dModel;
  const wide = (value: number): number => Math.max(1, Math.round(value * width));
  const [dSae, k, kAux] = [wide(options.dSae), wide(options.k), wide(options.kAux)];
  const parameters = (dModel * dSae) / (model.dModel * options.dSae);
  const trainingTokens = Math.round(options.trainingTokens * parameters);
  const deadTokens = Math.round(options.deadTokens * parameters);
  const contextSize = Math.min(options.contextSize, nCtx);
  change("d_sae", options.dSae, dSae, `${options.dSae / model.dModel} times d_in, which is ${text(dModel)} here`);
  change("k", options.k, k, `1 in ${model.dModel / options.k} of d_in`);
  change("k_aux", options.kAux, kAux, "half of d_in");
  change("training_tokens", options.trainingTokens, trainingTokens, "as many for each parameter");
  change("dead_tokens", options.deadTokens, deadTokens, "the same share of training_tokens");
  change("context_size", options.contextSize, contextSize, "the model's longest context");
  const at = nLayers === undefined ? undefined : Math.floor((block * nLayers) / model.nLayers);
  if (at !== undefined) change("block", block, at, `the same depth in ${nLayers} of ${model.nLayers} blocks`);
  const hookName = at === undefined ? {} : { hookName: `blocks.${at}.hook_resid_post` };
  return { options: { ...options, ...hookName, dSae, k, kAux, trainingTokens, deadTokens, contextSize }, changes };
}

/** What was asked for, with the preset's where nothing was. A length in other words replaces the preset's. */
export function withPreset(given: TrainOptions, fitted: TrainOptions): TrainOptions {
  const ownLength = given.steps !== undefined || given.epochs !== undefined;
  const { trainingTokens, ...rest } = fitted;
  const length = ownLength || trainingTokens === undefined ? {} : { trainingTokens };
  const own = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
  // The optimiser belongs to the formulation.
  const { optimizer: _optimizer, weightDecay: _weightDecay, ...others } = rest;
  const kept = (given.formulation ?? fitted.formulation) === fitted.formulation ? rest : others;
  return { ...kept, ...length, ...own };
}

function text(value: number | string): string {
  return typeof value === "number" ? value.toLocaleString("en-US") : value;
}

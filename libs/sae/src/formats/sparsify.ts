import { stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { openSafetensors } from "@mistral-sae/tensor";
import { hookOfModule, inputHookOfModule } from "./hook-names.ts";
import { readJsonObject } from "./json.ts";
import type { LoadedSae } from "./loaded.ts";
import { dtypeOfTensors } from "./stored-dtype.ts";
import { requireTensors } from "./tensors.ts";
import { requireSound, type SaeWeights } from "./weights.ts";

export const SPARSIFY_WEIGHTS = "sae.safetensors";
export const SPARSIFY_CFG = "cfg.json";

/** Reads one hookpoint's folder as EleutherAI's sparsify writes it; the folder's name is the module path. */
export async function readSparsify(folder: string): Promise<LoadedSae> {
  const cfgPath = join(folder, SPARSIFY_CFG);
  const { json: cfg, text } = await readJsonObject(cfgPath);
  const weightsPath = join(folder, SPARSIFY_WEIGHTS);
  const warnings: string[] = [];
  const dIn = cfg.required("d_in", cfg.count("d_in"));
  // sparsify writes 0 for "expansion_factor times d_in".
  const latents = cfg.number("num_latents") ?? 0;
  const dSae = latents === 0 ? dIn * (cfg.count("expansion_factor") ?? 32) : cfg.required("num_latents", cfg.count("num_latents"));
  const activation = cfg.choice("activation", ["topk", "groupmax"] as const) ?? "topk";
  const k = cfg.count("k") ?? 32;
  if (k > dSae) throw cfg.refuse("k", `1 to ${dSae} (num_latents)`);
  if (activation === "groupmax" && dSae % k !== 0) throw cfg.refuse("k", `a divisor of ${dSae} (num_latents), for groupmax`);
  const transcode = cfg.boolean("transcode") ?? false;
  const skipConnection = cfg.boolean("skip_connection") ?? false;
  await using source = await openSafetensors(weightsPath);
  const table = { "encoder.weight": [dSae, dIn], "encoder.bias": [dSae], W_dec: [dSae, dIn], b_dec: [dIn], ...(skipConnection ? { W_skip: [dIn, dIn] } : {}) };
  requireTensors(source, weightsPath, table, {}, `d_in ${dIn} and num_latents ${dSae} in cfg.json`);
  const sae: SaeWeights = {
    config: {
      architecture: activation,
      dIn,
      // sparsify's transcoders write rows as wide as they read.
      ...(transcode ? { dOut: dIn } : {}),
      ...(skipConnection ? { skipConnection } : {}),
      dSae,
      k,
      dtype: dtypeOfTensors(source),
      applyBDecToInput: !transcode,
      normalizeActivations: "none",
      reshapeActivations: "none",
      rescaleActsByDecoderNorm: false,
      metadata: await describe(folder, transcode, warnings),
    },
    wEnc: await source.readF32("encoder.weight"),
    bEnc: await source.readF32("encoder.bias"),
    wDec: await source.readF32("W_dec"),
    bDec: await source.readF32("b_dec"),
    ...(skipConnection ? { wSkip: await source.readF32("W_skip") } : {}),
  };
  requireSound(sae, weightsPath);
  return { sae, source: { format: "sparsify", path: folder, files: [cfgPath, weightsPath], cfgJson: text, warnings } };
}

/** Model, data and hook, as far as the folder's name and the run's config.json tell them. */
async function describe(folder: string, transcode: boolean, warnings: string[]): Promise<Record<string, unknown>> {
  // Several seeds of one hookpoint lie in folders of their own: layers.16/seed1.
  const hookpoint = /^seed\d+$/.test(basename(folder)) ? dirname(resolve(folder)) : resolve(folder);
  const module = basename(hookpoint);
  const output = hookOfModule(module);
  const input = transcode ? inputHookOfModule(module) : output;
  if (output === undefined) warnings.push(`the folder's name "${module}" is no module path that names a hook`);
  else if (input === undefined) warnings.push(`it reads the input of ${module}, which has no hook name here`);
  const run = join(dirname(hookpoint), "config.json");
  const there = await stat(run).then((found) => found.isFile(), () => false);
  const settings = there ? (await readJsonObject(run)).json : undefined;
  return {
    ...(input === undefined ? {} : { hook_name: input }),
    ...(transcode && output !== undefined ? { hook_name_out: output } : {}),
    ...(output === undefined ? {} : { hf_hook_name: module }),
    ...(settings?.string("model") === undefined ? {} : { model_name: settings.string("model") }),
    ...(settings?.string("dataset") === undefined ? {} : { dataset_path: settings.string("dataset") }),
    ...(settings?.count("ctx_len") === undefined ? {} : { context_size: settings.count("ctx_len") }),
  };
}

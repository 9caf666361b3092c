import { stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { InputError } from "@mistral-sae/tensor";
import type { SaeConfig } from "./config.ts";
import { DICT_CLASSES, type DictClass, inferClass, layoutOf } from "./dictionary-classes.ts";
import { foldDecoderNorms } from "./fold.ts";
import { type JsonObject, readJsonObject } from "./json.ts";
import type { LoadedSae, LoadSaeOptions } from "./loaded.ts";
import { dtypeOfTensors } from "./stored-dtype.ts";
import { requireTensors } from "./tensors.ts";
import { matrixSize, requireOnlyTensors } from "./torch/requirements.ts";
import { openStateDict, type StateDict } from "./torch/state-dict.ts";
import { decoderNorms, requireSound, type SaeWeights } from "./weights.ts";

export const DICTIONARY_FILE = "ae.pt";
const CONFIG_FILE = "config.json";
const UNIT_TOLERANCE = 1e-5 + 1e-8;

/**
 * Reads a state dict of dictionary_learning: `ae.pt` of a trainer's folder, or a file in its `checkpoints`. The trainer's config.json is
 * the one beside the file or, for a checkpoint, in the folder above. `path` is what the caller named, the folder or the file.
 */
export async function readDictionaryLearning(path: string, file: string, options: LoadSaeOptions): Promise<LoadedSae> {
  const configPath = await findConfig(file);
  const config = configPath === undefined ? undefined : await readJsonObject(configPath);
  const trainer = config?.json.object("trainer");
  const warnings: string[] = [];
  await using dict = await openStateDict(file);
  requireOnlyTensors(dict);
  const dictClass = chooseClass(dict, trainer, options.dictClass, warnings);
  const layout = layoutOf(dictClass, dict.tensors.get("group_sizes")?.shape[0]);
  const [dSae, dIn] = layout.latentsFirst ? matrixSize(dict, layout.encoder) : (matrixSize(dict, layout.encoder).toReversed() as [number, number]);
  const tables = layout.tensors(dIn, dSae);
  requireTensors(dict, file, tables.required, tables.optional, `${dictClass} of ${dSae} × ${dIn}`);
  const k = layout.architecture === "topk" ? await readK(dict, trainer, options.k, dSae) : undefined;
  const base: SaeWeights = {
    config: configOf(layout.architecture, dIn, dSae, k, dict, layout.subtractsBias, describe(trainer, dictClass, warnings)),
    wEnc: layout.latentsFirst ? await dict.readF32(layout.encoder) : await dict.readTransposed(layout.encoder),
    bEnc: layout.encoderBias === undefined ? new Float32Array(dSae) : await dict.readF32(layout.encoderBias),
    wDec: layout.decoderTransposed ? await dict.readTransposed(layout.decoder) : await dict.readF32(layout.decoder),
    bDec: await dict.readF32(layout.decoderBias),
    ...(layout.architecture === "jumprelu" ? { threshold: await readThreshold(dict, dictClass, dSae) } : {}),
    ...(layout.architecture === "gated" ? { gate: { bGate: await dict.readF32("gate_bias"), bMag: await dict.readF32("mag_bias"), rMag: await dict.readF32("r_mag") } } : {}),
  };
  requireSound(base, file);
  // dictionary_learning's own loader gives this class unit decoder rows.
  const sae = dictClass === "AutoEncoder" && !hasUnitRows(base) ? foldDecoderNorms(base) : base;
  return { sae, source: { format: "dictionary_learning", path, files: configPath === undefined ? [file] : [configPath, file], cfgJson: config?.text ?? "{}", warnings } };
}

async function findConfig(file: string): Promise<string | undefined> {
  const beside = join(dirname(file), CONFIG_FILE);
  const above = join(dirname(file), "..", CONFIG_FILE);
  for (const path of basename(dirname(resolve(file))) === "checkpoints" ? [beside, above] : [beside]) {
    if (await stat(path).then((found) => found.isFile(), () => false)) return path;
  }
  return undefined;
}

/** torch's allclose to 1: its loader then leaves the rows alone. */
function hasUnitRows(sae: SaeWeights): boolean {
  return decoderNorms(sae).every((norm) => Math.abs(norm - 1) <= UNIT_TOLERANCE);
}

function chooseClass(dict: StateDict, trainer: JsonObject | undefined, given: string | undefined, warnings: string[]): DictClass {
  const said = trainer?.string("dict_class");
  const name = given ?? said;
  if (name === undefined) return inferClass(dict, warnings);
  const found = DICT_CLASSES.find((known) => known === name);
  if (found === undefined) throw new InputError(`SAEs of the class "${name}" cannot be loaded`, { file: trainer?.file ?? dict.path, field: "dict_class", got: name, wanted: DICT_CLASSES.join(", ") });
  return found;
}

function configOf(architecture: SaeConfig["architecture"], dIn: number, dSae: number, k: number | undefined, dict: StateDict, applyBDecToInput: boolean, metadata: Record<string, unknown>): SaeConfig {
  return {
    architecture,
    dIn,
    dSae,
    ...(k === undefined ? {} : { k }),
    dtype: dtypeOfTensors(dict),
    applyBDecToInput,
    normalizeActivations: "none",
    reshapeActivations: "none",
    rescaleActsByDecoderNorm: false,
    metadata,
  };
}

async function readK(dict: StateDict, trainer: JsonObject | undefined, given: number | undefined, dSae: number): Promise<number> {
  const stored = dict.tensors.has("k") ? await dict.readScalar("k") : undefined;
  const said = trainer?.count("k");
  const k = given ?? stored ?? said;
  if (k === undefined || !Number.isInteger(k) || k < 1 || k > dSae) throw new InputError("a top-k SAE needs k", { file: dict.path, field: "k", got: k ?? "nothing", wanted: `1 to ${dSae}` });
  for (const other of [stored, said]) {
    if (other !== undefined && other !== k) throw new InputError("the numbers of features a row differ", { file: dict.path, field: "k", got: `${k} and ${other}`, wanted: "one number" });
  }
  return k;
}

/** JumpRelu has a threshold a feature; the batch classes one for all, below zero while it was never estimated. */
async function readThreshold(dict: StateDict, dictClass: DictClass, dSae: number): Promise<Float32Array> {
  if (dictClass === "JumpReluAutoEncoder") return await dict.readF32("threshold");
  const threshold = await dict.readScalar("threshold");
  if (threshold < 0) throw new InputError("the SAE was saved before its threshold was estimated", { file: dict.path, field: "threshold", got: threshold, wanted: "at least 0" });
  return new Float32Array(dSae).fill(threshold);
}

function describe(trainer: JsonObject | undefined, dictClass: DictClass, warnings: string[]): Record<string, unknown> {
  const submodule = trainer?.string("submodule_name");
  const layer = /^resid_post_layer_(\d+)$/.exec(submodule ?? "")?.[1];
  if (layer === undefined) warnings.push(`no hook is known: ${submodule === undefined ? "the file names none" : `"${submodule}" is no name that says one`}`);
  return {
    ...(layer === undefined ? {} : { hook_name: `blocks.${layer}.hook_resid_post` }),
    ...(trainer?.string("lm_name") === undefined ? {} : { model_name: trainer.string("lm_name") }),
    ...(submodule === undefined ? {} : { submodule_name: submodule }),
    dict_class: dictClass,
  };
}

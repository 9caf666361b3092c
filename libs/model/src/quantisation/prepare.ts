import { createHash } from "node:crypto";
import { readdir, realpath, rm, stat } from "node:fs/promises";
import { homedir } from "node:os";
import { basename, join, resolve } from "node:path";
import { InputError } from "@mistral-sae/tensor";
import { readModelConfig } from "../config/model-config.ts";
import { readModelSource } from "../graph/model-source.ts";
import { formatVersion, otherPrecision, readQuantisation, type QuantisedPrecision } from "./format.ts";
import { quantiseDefaults, quantiseModel, type QuantiseOptions } from "./quantise-model.ts";

/** How a quantised model is made ready. */
export type PrepareOptions = Pick<QuantiseOptions, "threads" | "signal" | "onProgress">;

/** Work that nobody has touched for so long was left by a process that died. */
const abandonedMs = 3_600_000;

/** `$MISTRAL_SAE_CACHE`, else `mistral-sae` in the user's cache folder. */
export function defaultCacheDir(env: Readonly<Record<string, string | undefined>> = process.env): string {
  return resolve(env["MISTRAL_SAE_CACHE"] ?? join(env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "mistral-sae"));
}

/**
 * The folder to open for a model at a precision: the model's own when it is quantised so already, else one in `cacheDir`,
 * made at the first asking and found again while the model's files keep their sizes and times. Processes may ask at
 * once; one that dies leaves nothing that is taken for whole. Throws InputError when the model is quantised otherwise, or
 * cannot be.
 */
export async function prepareQuantised(modelDir: string, precision: QuantisedPrecision, cacheDir: string, options: PrepareOptions = {}): Promise<string> {
  const own = await readQuantisation(modelDir, await readModelConfig(modelDir));
  if (own !== undefined) {
    if (own.precision !== precision) throw otherPrecision(modelDir, precision, own.precision);
    return modelDir;
  }
  const key = await cacheKey(modelDir, precision);
  const name = `${basename(resolve(modelDir)).replaceAll(/[^\w.-]+/g, "-")}-${precision}-${key.slice(0, 16)}`;
  const folder = join(cacheDir, name);
  await removeAbandoned(cacheDir, name);
  if (await isThere(folder)) {
    if (await isWhole(folder)) return folder;
    await rm(folder, { recursive: true, force: true });
  }
  try {
    await quantiseModel(modelDir, folder, { precision, ...options });
  } catch (error) {
    options.signal?.throwIfAborted();
    // Another process may have been faster.
    if (!(await isThere(folder)) || !(await isWhole(folder))) throw error;
  }
  if ((await cacheKey(modelDir, precision)) !== key) {
    await rm(folder, { recursive: true, force: true });
    throw new InputError("the model's files changed while they were quantised", { file: modelDir, wanted: "a model folder that stays as it is" });
  }
  return folder;
}

/** Throws InputError when a model folder's weights are quantised. */
export async function requireFloats(modelDir: string): Promise<void> {
  const own = await readQuantisation(modelDir, await readModelConfig(modelDir));
  if (own !== undefined) throw otherPrecision(modelDir, "f32", own.precision);
}

/** SHA-256, hex, over how the model is quantised and what its files are: path, size and time of the last change. */
async function cacheKey(modelDir: string, precision: QuantisedPrecision): Promise<string> {
  const hash = createHash("sha256").update(JSON.stringify([formatVersion, precision, quantiseDefaults]));
  for (const name of (await readdir(modelDir)).filter((file) => !file.startsWith(".")).sort()) {
    const path = await realpath(join(modelDir, name));
    const info = await stat(path, { bigint: true });
    if (info.isFile()) hash.update(JSON.stringify([name, path, String(info.size), String(info.mtimeNs)]));
  }
  return hash.digest("hex");
}

/** Whether a folder holds all that was written to it, as far as sizes tell. */
async function isWhole(folder: string): Promise<boolean> {
  try {
    return (await readModelSource(folder, 1)).weights.precision !== undefined;
  } catch (error) {
    if (error instanceof InputError) return false;
    throw error;
  }
}

async function removeAbandoned(cacheDir: string, name: string): Promise<void> {
  for (const entry of await readdir(cacheDir).catch(() => [])) {
    if (!entry.startsWith(`.${name}.`)) continue;
    const path = join(cacheDir, entry);
    const times = await Promise.all([path, ...(await readdir(path).catch(() => [])).map((file) => join(path, file))].map(async (file) => (await stat(file).catch(() => undefined))?.mtimeMs ?? 0));
    if (Date.now() - Math.max(...times) > abandonedMs) await rm(path, { recursive: true, force: true });
  }
}

async function isThere(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined)) !== undefined;
}

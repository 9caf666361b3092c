import { createHash } from "node:crypto";
import { readdir, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { InputError, sha256File } from "@mistral-sae/tensor";
import { isDictionary } from "./dictionary-classes.ts";
import { DICTIONARY_FILE, readDictionaryLearning } from "./dictionary-learning.ts";
import { type LoadedSae, type LoadSaeOptions, refuseUnusedOptions, type SaeSource } from "./loaded.ts";
import { isOpenAi, readOpenAi } from "./openai.ts";
import { isOriginal, readOriginal } from "./original.ts";
import { CFG_FILE, readSaelens, WEIGHTS_FILE } from "./saelens/read.ts";
import { readSparsify, SPARSIFY_WEIGHTS } from "./sparsify.ts";
import { openStateDict } from "./torch/state-dict.ts";

/**
 * Loads an SAE from a folder, or from a `.pt` file, in any of the formats read; the format follows from the files there.
 *
 * All weights are held in memory as f32 (8 × d_in × d_sae bytes); safetensors are read by range, and nothing in a `.pt` is executed.
 * Throws InputError naming file, field, the value found and the one wanted.
 */
export async function loadSae(path: string, options: LoadSaeOptions = {}): Promise<LoadedSae> {
  const found = await stat(path).catch(() => undefined);
  if (found === undefined) throw new InputError("there is no such folder", { file: path, wanted: `a folder with ${CFG_FILE} and ${WEIGHTS_FILE}` });
  if (!found.isDirectory()) return await loadFile(path, options);
  const names = await readdir(path);
  if (names.includes(WEIGHTS_FILE)) {
    refuseUnusedOptions(options, ["scalingFactor", "normalizeActivations"], "saelens", path);
    return await readSaelens(path, options);
  }
  if (names.includes(SPARSIFY_WEIGHTS)) {
    refuseUnusedOptions(options, [], "sparsify", path);
    return await readSparsify(path);
  }
  if (names.includes(DICTIONARY_FILE)) {
    refuseUnusedOptions(options, ["k", "dictClass"], "dictionary_learning", path);
    return await readDictionaryLearning(path, join(path, DICTIONARY_FILE), options);
  }
  const [checkpoint, another] = names.filter((name) => name.endsWith(".pt"));
  if (checkpoint !== undefined && another === undefined) return await loadFile(join(path, checkpoint), options);
  throw await unknownFolder(path, names);
}

async function loadFile(path: string, options: LoadSaeOptions): Promise<LoadedSae> {
  if (!path.endsWith(".pt")) throw new InputError("not a folder", { file: path, wanted: `a folder with ${CFG_FILE} and ${WEIGHTS_FILE}, or a .pt file` });
  await using dict = await openStateDict(path);
  if (isOpenAi(dict)) {
    refuseUnusedOptions(options, [], "openai", path);
    return await readOpenAi(dict);
  }
  if (isOriginal(dict)) {
    refuseUnusedOptions(options, ["k"], "mistral-sae", path);
    return await readOriginal(dict, options.k);
  }
  if (isDictionary(dict)) {
    refuseUnusedOptions(options, ["k", "dictClass"], "dictionary_learning", path);
    return await readDictionaryLearning(path, path, options);
  }
  throw new InputError("the state dict is of no SAE known here", {
    file: path,
    field: "data.pkl",
    got: [...dict.tensors.keys()].slice(0, 12).join(", "),
    wanted: "the tensors of openai/sparse_autoencoder, of mistral-sae or of dictionary_learning",
  });
}

async function unknownFolder(path: string, names: readonly string[]): Promise<InputError> {
  const inner: string[] = [];
  for (const name of names) {
    const there = await stat(join(path, name, CFG_FILE)).then((found) => found.isFile(), () => false);
    if (there) inner.push(name);
  }
  const got = names.length === 0 ? "an empty folder" : names.toSorted().slice(0, 8).join(", ");
  if (inner.length > 0) return new InputError("the folder holds several SAEs: name one", { file: path, got, wanted: inner.toSorted().map((name) => join(path, name)).join(", ") });
  return new InputError("the folder holds no SAE", {
    file: path,
    got,
    wanted: `${WEIGHTS_FILE} (SAELens) or ${SPARSIFY_WEIGHTS} (sparsify) with ${CFG_FILE}, ${DICTIONARY_FILE} (dictionary_learning), or one other .pt`,
  });
}

/**
 * SHA-256 over weights and configuration: of the lines `<sha256 of the file>  <file name>`, in the order of names.
 * The same as `sha256sum` of those files, piped into `sha256sum`.
 */
export async function digestOf(source: SaeSource): Promise<string> {
  const lines: string[] = [];
  for (const file of source.files.toSorted((a, b) => (basename(a) < basename(b) ? -1 : 1))) lines.push(`${await sha256File(file)}  ${basename(file)}\n`);
  return createHash("sha256").update(lines.join("")).digest("hex");
}

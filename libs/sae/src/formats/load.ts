import { createHash } from "node:crypto";
import { readdir, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { InputError, sha256File } from "@mistral-sae/tensor";
import type { LoadedSae, LoadSaeOptions, SaeSource } from "./loaded.ts";
import { CFG_FILE, readSaelens, WEIGHTS_FILE } from "./saelens/read.ts";
import { readSparsify, SPARSIFY_WEIGHTS } from "./sparsify.ts";

/**
 * Loads an SAE from a folder in any of the formats read; the format follows from the files there.
 *
 * All weights are held in memory as f32 (8 × d_in × d_sae bytes); files are read by range.
 * Throws InputError naming file, field, the value found and the one wanted, and never guesses.
 */
export async function loadSae(path: string, options: LoadSaeOptions = {}): Promise<LoadedSae> {
  const names = await filesIn(path);
  if (names.has(WEIGHTS_FILE)) return await readSaelens(path, options);
  if (names.has(SPARSIFY_WEIGHTS)) return await readSparsify(path);
  throw await unknownFolder(path, names);
}

async function filesIn(path: string): Promise<Set<string>> {
  const found = await stat(path).catch(() => undefined);
  if (found === undefined) throw new InputError("there is no such folder", { file: path, wanted: `a folder with ${CFG_FILE} and ${WEIGHTS_FILE}` });
  if (!found.isDirectory()) throw new InputError("not a folder", { file: path, wanted: `a folder with ${CFG_FILE} and ${WEIGHTS_FILE}` });
  return new Set(await readdir(path));
}

async function unknownFolder(path: string, names: ReadonlySet<string>): Promise<InputError> {
  const inner: string[] = [];
  for (const name of names) {
    const there = await stat(join(path, name, CFG_FILE)).then((found) => found.isFile(), () => false);
    if (there) inner.push(name);
  }
  const got = names.size === 0 ? "an empty folder" : [...names].sort().slice(0, 8).join(", ");
  if (inner.length > 0) return new InputError("the folder holds several SAEs: name one", { file: path, got, wanted: inner.sort().map((name) => join(path, name)).join(", ") });
  return new InputError("the folder holds no SAE", { file: path, got, wanted: `${WEIGHTS_FILE} (SAELens) or ${SPARSIFY_WEIGHTS} (sparsify), with ${CFG_FILE}` });
}

/**
 * SHA-256 over weights and configuration: of the lines `<sha256 of the file>  <file name>`, in the order of names.
 * The same as `sha256sum` of those files, piped into `sha256sum`.
 */
export async function digestOf(source: SaeSource): Promise<string> {
  const lines: string[] = [];
  for (const file of [...source.files].sort((a, b) => (basename(a) < basename(b) ? -1 : 1))) lines.push(`${await sha256File(file)}  ${basename(file)}\n`);
  return createHash("sha256").update(lines.join("")).digest("hex");
}

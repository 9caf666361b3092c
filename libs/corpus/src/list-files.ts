import { glob, opendir, stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { InputError } from "@mistral-sae/tensor";
import { formatOf, knownEndings } from "./file-format.ts";

/**
 * Finds the files of a corpus: every entry of `uri` (one a line) is a file, a folder (read with its
 * sub-folders, hidden ones left out) or a glob.
 * @returns Absolute paths, each once, in ascending order of their code units: the corpus' order everywhere.
 * @throws InputError when an entry matches nothing, or names a file of an unknown kind.
 */
export async function listCorpusFiles(uri: string): Promise<readonly string[]> {
  const entries = uri.split("\n").map((entry) => entry.trim()).filter((entry) => entry !== "");
  if (entries.length === 0) throw new InputError("the corpus has no path", { field: "corpus.uri", got: JSON.stringify(uri), wanted: "a file, folder or glob" });
  const files = new Set<string>();
  for (const entry of entries) {
    for (const file of await filesOf(entry)) files.add(file);
  }
  return [...files].sort(byCodeUnits);
}

async function filesOf(entry: string): Promise<readonly string[]> {
  const path = resolve(entry.startsWith("file://") ? fileURLToPath(entry) : entry);
  const found = await stat(path).catch(() => undefined);
  if (found?.isFile()) return [known(path)];
  const matches = found?.isDirectory() ? await filesBelow(path) : await globbed(entry);
  if (matches.length === 0) {
    const got = found === undefined ? "no such file, folder or match" : "a folder without any";
    throw new InputError(`nothing to read at ${entry}: ${got}`, { file: path, field: "corpus.uri", got: entry, wanted: `a file, folder or glob of ${knownEndings}` });
  }
  return matches;
}

async function filesBelow(folder: string): Promise<string[]> {
  const files: string[] = [];
  for await (const entry of await opendir(folder)) {
    const path = join(folder, entry.name);
    if (entry.name.startsWith(".")) continue;
    const kind = entry.isSymbolicLink() ? await stat(path) : entry;
    if (kind.isDirectory()) files.push(...(await filesBelow(path)));
    else if (kind.isFile() && formatOf(path) !== undefined) files.push(path);
  }
  return files;
}

async function globbed(pattern: string): Promise<string[]> {
  if (!/[*?[{]/.test(pattern)) return [];
  const files: string[] = [];
  for await (const match of glob(pattern)) {
    const path = resolve(match);
    if ((await stat(path)).isFile()) files.push(known(path));
  }
  return files;
}

function known(path: string): string {
  if (formatOf(path) !== undefined) return path;
  throw new InputError(`${path} is of no kind that is read`, { file: path, field: "corpus.uri", got: path, wanted: `a name ending in ${knownEndings}` });
}

export function byCodeUnits(a: string, b: string): number {
  return a < b ? -1 : Number(a > b);
}

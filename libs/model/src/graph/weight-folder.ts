import { realpath } from "node:fs/promises";
import { dirname, relative, sep } from "node:path";

/** Files as sessions are told of them. */
export interface WeightFolder {
  readonly folder: string;
  /** Path within the folder, by the path that was asked for. */
  readonly names: ReadonlyMap<string, string>;
}

/**
 * The smallest folder that holds all files after symlinks. onnxruntime refuses weights outside the folder that it is
 * given, and links that lead out of it, but takes files in folders below: so a hub cache, whose snapshots link into a
 * folder of blobs, and shards on several disks are read where they lie.
 */
export async function weightFolder(files: readonly string[]): Promise<WeightFolder> {
  const real = await Promise.all(files.map(async (file) => [file, await realpath(file)] as const));
  const folder = real.map(([, path]) => dirname(path)).reduce(commonFolder, dirname(real[0]?.[1] ?? sep));
  return { folder, names: new Map(real.map(([file, path]) => [file, relative(folder, path)])) };
}

function commonFolder(a: string, b: string): string {
  let folder = a;
  while (b !== folder && !b.startsWith(folder.endsWith(sep) ? folder : folder + sep)) folder = dirname(folder);
  return folder;
}

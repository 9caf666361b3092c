import { mkdir, readdir, rename, rm } from "node:fs/promises";
import { randomBytes } from "node:crypto";
import { basename, dirname, join, resolve } from "node:path";
import { type SaeWeights, type WrittenSae, writeSae } from "@mistral-sae/sae";
import { InputError, syncFolder } from "@mistral-sae/tensor";

/**
 * Writes an SAE as a SAELens 6 folder at `output`. The folder appears whole or not at all.
 * Throws InputError when `output` holds something already.
 */
export async function convertTo(output: string, sae: SaeWeights): Promise<WrittenSae> {
  const target = resolve(output);
  await requireFree(target);
  await mkdir(dirname(target), { recursive: true });
  const draft = join(dirname(target), `.${basename(target)}.${randomBytes(6).toString("hex")}.tmp`);
  try {
    const written = await writeSae(draft, sae);
    await rename(draft, target);
    await syncFolder(dirname(target));
    return { ...written, folder: target };
  } finally {
    await rm(draft, { recursive: true, force: true });
  }
}

/** Refuses an output that exists, unless it is an empty folder. */
export async function requireFree(output: string): Promise<void> {
  const held = await readdir(output).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return [];
    return error.code === "ENOTDIR" ? [basename(output)] : Promise.reject(error);
  });
  if (held.length > 0) throw new InputError("the output is there already", { file: output, field: "OUT", got: held.slice(0, 4).join(", "), wanted: "a new folder, or an empty one" });
}

import { mkdir, readdir, rename, rm } from "node:fs/promises";
import { randomBytes } from "node:crypto";
import { basename, dirname, join, resolve } from "node:path";
import { type SaeWeights, type WrittenSae, writeSae, writeSparsify } from "@mistral-sae/sae";
import { InputError, syncFolder } from "@mistral-sae/tensor";

/** Layouts that are written. */
export const WRITTEN_FORMATS = ["saelens", "sparsify"] as const;
export type WrittenFormat = (typeof WRITTEN_FORMATS)[number];

const WRITERS: Readonly<Record<WrittenFormat, (folder: string, sae: SaeWeights) => Promise<WrittenSae>>> = { saelens: writeSae, sparsify: writeSparsify };

/**
 * Writes an SAE as a folder of SAELens 6 or of sparsify at `output`. The folder appears whole or not at all.
 * Throws InputError when `output` holds something already.
 */
export async function convertTo(output: string, sae: SaeWeights, format: WrittenFormat = "saelens"): Promise<WrittenSae> {
  const target = resolve(output);
  await requireFree(target);
  await mkdir(dirname(target), { recursive: true });
  const draft = join(dirname(target), `.${basename(target)}.${randomBytes(6).toString("hex")}.tmp`);
  try {
    const written = await WRITERS[format](draft, sae);
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

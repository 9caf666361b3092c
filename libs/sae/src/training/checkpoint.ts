import { atomicWriteFile, InputError, openSafetensors, sha256File, syncFolder, writeSafetensors } from "@mistral-sae/tensor";
import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import type { TrainerProgress } from "./state.ts";
import type { TrainerPort } from "./trainer-port.ts";

/** A training's state on disk. */
export interface Checkpoint {
  /** Steps done. */
  readonly step: number;
  readonly folder: string;
  readonly bytes: number;
  /** Of the manifest, which names the digest of the state itself. */
  readonly sha256: string;
  readonly progress: TrainerProgress;
  /** What the caller keeps beside the state: its place in the data, for one. */
  readonly extra: unknown;
}

interface Manifest {
  readonly state: { readonly file: string; readonly bytes: number; readonly sha256: string };
  readonly progress: TrainerProgress;
  readonly extra: unknown;
}

/** A manifest as it is stored: its JSON text and that text's digest, so that no byte of it can change unseen. */
interface SealedManifest {
  readonly version: 2;
  readonly sha256: string;
  readonly manifest: string;
}

export interface WriteCheckpointOptions {
  /** JSON that the caller gets back when it continues. */
  readonly extra?: unknown;
  /** Newest checkpoints that stay; at least 1. */
  readonly keep?: number;
}

const stateFile = "state.safetensors";
const manifestFile = "manifest.json";
const folderName = /^step-(\d+)$/;
const unfinished = ".unfinished-";

/**
 * Saves the trainer's state under `root` as `step-…/`, in one step: losing the process at any byte leaves the older checkpoints
 * as they were. The trainer must not be asked for a step meanwhile. Older checkpoints than `keep` (default 2) are removed.
 */
export async function writeCheckpoint(root: string, trainer: TrainerPort, options: WriteCheckpointOptions = {}): Promise<Checkpoint> {
  const { progress, tensors } = await trainer.state();
  await mkdir(root, { recursive: true });
  const name = `step-${String(progress.step).padStart(8, "0")}`;
  const aside = join(root, `${unfinished}${name}`);
  await rm(aside, { recursive: true, force: true });
  await mkdir(aside);
  const sha256 = await writeSafetensors(join(aside, stateFile), tensors);
  const { size } = await stat(join(aside, stateFile));
  const manifest: Manifest = { state: { file: stateFile, bytes: size, sha256 }, progress, extra: options.extra ?? null };
  await atomicWriteFile(join(aside, manifestFile), seal(manifest));
  const folder = join(root, name);
  await rm(folder, { recursive: true, force: true });
  await rename(aside, folder);
  await syncFolder(root);
  await removeOlder(root, Math.max(1, options.keep ?? 2));
  return await readCheckpoint(folder);
}

/** Checkpoints under `root` by step, newest first; their content is not checked. */
export async function listCheckpoints(root: string): Promise<Checkpoint[]> {
  const found: Checkpoint[] = [];
  for (const folder of await stepFolders(root)) {
    try {
      found.push(await readCheckpoint(folder));
    } catch {
      // A folder without a whole manifest is no checkpoint.
    }
  }
  return found;
}

/** A checkpoint that was put into a trainer, and those that should have been. */
export interface RestoredCheckpoint extends Checkpoint {
  /** Folders of newer checkpoints that are damaged, newest first. */
  readonly damaged: readonly string[];
}

/**
 * Puts the newest whole checkpoint under `root` into the trainer and returns it, or undefined when there is none. A checkpoint
 * whose bytes do not have the digests in its manifest is passed over for the one before it.
 */
export async function restoreNewestCheckpoint(root: string, trainer: TrainerPort): Promise<RestoredCheckpoint | undefined> {
  const damaged: string[] = [];
  for (const folder of await stepFolders(root)) {
    if (await isWhole(folder)) {
      const checkpoint = await readCheckpoint(folder);
      await restoreFrom(checkpoint, trainer);
      return { ...checkpoint, damaged };
    }
    damaged.push(folder);
  }
  return undefined;
}

/** Puts the checkpoint in `folder` into the trainer. Throws InputError when it is not there, or its bytes lack the digest in its manifest. */
export async function restoreCheckpoint(folder: string, trainer: TrainerPort): Promise<Checkpoint> {
  if (!(await isWhole(folder))) throw new InputError("the checkpoint is damaged", { file: join(folder, stateFile), field: "sha256", wanted: "the digest in its manifest" });
  const checkpoint = await readCheckpoint(folder);
  await restoreFrom(checkpoint, trainer);
  return checkpoint;
}

async function restoreFrom({ folder, progress }: Checkpoint, trainer: TrainerPort): Promise<void> {
  await using tensors = await openSafetensors(join(folder, stateFile));
  await trainer.restore({ progress, tensors });
}

async function isWhole(folder: string): Promise<boolean> {
  try {
    const manifest = await readManifest(folder);
    const path = join(folder, manifest.state.file);
    return (await stat(path)).size === manifest.state.bytes && (await sha256File(path)) === manifest.state.sha256;
  } catch {
    return false;
  }
}

async function readCheckpoint(folder: string): Promise<Checkpoint> {
  const { state, progress, extra } = await readManifest(folder);
  return { step: progress.step, folder, bytes: state.bytes, sha256: await sha256File(join(folder, manifestFile)), progress, extra };
}

function seal(manifest: Manifest): string {
  const text = JSON.stringify(manifest);
  return JSON.stringify({ version: 2, sha256: digest(text), manifest: text } satisfies SealedManifest);
}

/** Throws InputError when the manifest was not written by {@link seal}, or not as it is now. */
async function readManifest(folder: string): Promise<Manifest> {
  const path = join(folder, manifestFile);
  const sealed = parsed(await readFile(path, "utf8"));
  if (sealed?.version !== 2 || typeof sealed.manifest !== "string") throw new InputError("not a manifest of a training checkpoint", { file: path, field: "version", got: sealed?.version, wanted: 2 });
  const sha256 = digest(sealed.manifest);
  if (sha256 !== sealed.sha256) throw new InputError("the manifest is damaged", { file: path, field: "sha256", got: sha256, wanted: sealed.sha256 });
  return JSON.parse(sealed.manifest) as Manifest;
}

function parsed(text: string): Partial<SealedManifest> | undefined {
  try {
    return JSON.parse(text) as Partial<SealedManifest>;
  } catch {
    return undefined;
  }
}

function digest(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

async function stepFolders(root: string): Promise<string[]> {
  let names: string[];
  try {
    names = await readdir(root);
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return [];
    throw error;
  }
  const steps = names.flatMap((name) => (folderName.test(name) ? [[Number(folderName.exec(name)?.[1]), name] as const] : []));
  return steps.sort(([a], [b]) => b - a).map(([, name]) => join(root, name));
}

async function removeOlder(root: string, keep: number): Promise<void> {
  for (const folder of (await stepFolders(root)).slice(keep)) await rm(folder, { recursive: true, force: true });
}

import { atomicWriteFile, InputError, openSafetensors, sha256File, syncFolder, writeSafetensors } from "@mistral-sae/tensor";
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
  readonly version: 1;
  readonly state: { readonly file: string; readonly bytes: number; readonly sha256: string };
  readonly progress: TrainerProgress;
  readonly extra: unknown;
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
  const manifest: Manifest = { version: 1, state: { file: stateFile, bytes: size, sha256 }, progress, extra: options.extra ?? null };
  await atomicWriteFile(join(aside, manifestFile), JSON.stringify(manifest));
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

/**
 * Puts the newest whole checkpoint under `root` into the trainer and returns it, or undefined when there is none. A checkpoint
 * whose bytes do not have the digest in its manifest is passed over for the one before it.
 */
export async function restoreNewestCheckpoint(root: string, trainer: TrainerPort): Promise<Checkpoint | undefined> {
  for (const checkpoint of await listCheckpoints(root)) {
    if (!(await isWhole(checkpoint.folder))) continue;
    await restoreFrom(checkpoint, trainer);
    return checkpoint;
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
  const manifest = await readManifest(folder);
  const path = join(folder, manifest.state.file);
  try {
    return (await stat(path)).size === manifest.state.bytes && (await sha256File(path)) === manifest.state.sha256;
  } catch {
    return false;
  }
}

async function readCheckpoint(folder: string): Promise<Checkpoint> {
  const { state, progress, extra } = await readManifest(folder);
  return { step: progress.step, folder, bytes: state.bytes, sha256: await sha256File(join(folder, manifestFile)), progress, extra };
}

async function readManifest(folder: string): Promise<Manifest> {
  const path = join(folder, manifestFile);
  const manifest = JSON.parse(await readFile(path, "utf8")) as Partial<Manifest>;
  if (manifest.version !== 1 || manifest.state === undefined || manifest.progress === undefined) {
    throw new InputError("not a manifest of a training checkpoint", { file: path, field: "version", got: manifest.version, wanted: 1 });
  }
  return { version: 1, state: manifest.state, progress: manifest.progress, extra: manifest.extra };
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

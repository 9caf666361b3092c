import { mkdir, readlink, rm, stat, statfs, symlink } from "node:fs/promises";
import { join, relative } from "node:path";
import { atomicWriteFile, InputError } from "@mistral-sae/tensor";
import { downloadBlob } from "./blob.ts";
import { findCached } from "./cached-model.ts";
import { HubError } from "./hub-error.ts";
import { cachePlaces, isCommit, type CachePlaces, type HubModel } from "./repository.ts";
import { filesToRead, listModel, type RemoteFile } from "./repository-files.ts";
import { usualPatience, type Patience } from "./request.ts";
import { readHubSettings, type HubSettings } from "./settings.ts";

/** How far a download is, over all files. */
export interface DownloadProgress {
  readonly doneBytes: number;
  readonly totalBytes: number;
  readonly doneFiles: number;
  readonly totalFiles: number;
}

export interface DownloadOptions {
  /** From the environment unless given. */
  readonly settings?: HubSettings;
  readonly patience?: Patience;
  /** Files at a time. */
  readonly parallel?: number;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: (progress: DownloadProgress) => void;
}

export const downloadDefaults = { patience: usualPatience, parallel: 4 } as const;

/**
 * Brings a model of the hub into the cache, and returns its folder there (`snapshots/{commit}`, links to the blobs). The
 * folder holds what this program reads: configuration, tokenizer and safetensors weights. What is there already is not
 * fetched again, also after a download that was cut off in the middle of a file; every file's checksum is verified.
 *
 * Nothing is sent for a commit that is in the cache whole. Offline, or when the hub cannot be reached, the revision that
 * was downloaded last is used.
 * Throws InputError for an id, a revision or a token that does not do, or too little space; HubError when the hub does not
 * give what it should; the signal's reason when cancelled, keeping what has come.
 */
export async function downloadModel(model: HubModel, options: DownloadOptions = {}): Promise<string> {
  const { patience, parallel } = { ...downloadDefaults, ...options };
  const settings = options.settings ?? (await readHubSettings());
  options.signal?.throwIfAborted();
  const cached = await findCached(model, settings);
  if (cached !== undefined && (settings.offline || isCommit(model.revision))) return cached;
  if (settings.offline) {
    throw new InputError(`the model is not in the cache, and the hub may not be asked`, { field: "id", got: `${model.id}@${model.revision}`, wanted: `a model in ${settings.cacheDir}, or HF_HUB_OFFLINE unset` });
  }
  try {
    return await fetchModel(model, settings, patience, parallel, options);
  } catch (error) {
    if (error instanceof HubError && cached !== undefined) return cached;
    throw error;
  }
}

async function fetchModel(model: HubModel, settings: HubSettings, patience: Patience, parallel: number, { signal, onProgress }: DownloadOptions): Promise<string> {
  const { sha, files: all } = await listModel(model, settings, patience, signal);
  const files = filesToRead(model, all);
  const places = cachePlaces(settings.cacheDir, model);
  const folder = places.snapshot(sha);
  await mkdir(places.blobs, { recursive: true });
  await mkdir(folder, { recursive: true });
  await requireSpace(files, places);

  const done = new Map<string, number>();
  let doneFiles = 0;
  const totalBytes = files.reduce((sum, { size }) => sum + size, 0);
  const report = (): void => onProgress?.({ doneBytes: [...done.values()].reduce((a, b) => a + b, 0), totalBytes, doneFiles, totalFiles: files.length });
  report();
  const stop = new AbortController();
  const either = signal === undefined ? stop.signal : AbortSignal.any([signal, stop.signal]);
  // Small files come first, so that a model that does not do is known before its weights are fetched.
  const waiting = [...files].sort((a, b) => b.size - a.size);
  const work = async (): Promise<void> => {
    for (let file = waiting.pop(); file !== undefined; file = waiting.pop()) {
      const { name } = file;
      const onBytes = (bytes: number): void => {
        done.set(name, bytes);
        report();
      };
      const blob = await downloadBlob({ model, sha, file, blobs: places.blobs, settings, patience, signal: either, onBytes });
      await pointTo(blob, join(folder, name));
      doneFiles++;
      report();
    }
  };
  const workers = Array.from({ length: Math.min(parallel, files.length) }, async () => await work().catch((error: unknown) => {
    stop.abort(error);
    throw error;
  }));
  const failed = (await Promise.allSettled(workers)).find((outcome) => outcome.status === "rejected");
  if (failed !== undefined) {
    signal?.throwIfAborted();
    throw stop.signal.reason ?? failed.reason;
  }
  if (!isCommit(model.revision)) await atomicWriteFile(places.ref, sha);
  return folder;
}

/** Makes `path` a link to a blob, as the layout has it. */
async function pointTo(blob: string, path: string): Promise<void> {
  const target = relative(join(path, ".."), blob);
  try {
    await symlink(target, path);
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "EEXIST")) throw error;
    if ((await readlink(path).catch(() => "")) === target) return;
    await rm(path);
    await symlink(target, path);
  }
}

async function requireSpace(files: readonly RemoteFile[], { blobs }: CachePlaces): Promise<void> {
  const { bavail, bsize } = await statfs(blobs);
  let missing = 0;
  for (const { etag, size } of files) {
    const there = await stat(join(blobs, etag)).then(() => true, () => false);
    if (!there) missing += size;
  }
  if (missing > bavail * bsize) throw new InputError("the disk of the cache has too little space for the model", { file: blobs, field: "HF_HUB_CACHE", got: `${bavail * bsize} bytes free`, wanted: `${missing} bytes` });
}

import { mkdir, readlink, rm, stat, statfs, symlink } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { atomicWriteFile, InputError } from "@mistral-sae/tensor";
import { downloadBlob } from "./blob.ts";
import { cachePlaces, isCommit, type CachePlaces, type HubModel } from "./repository.ts";
import { listModel, type RemoteFile } from "./repository-files.ts";
import { usualPatience, type Patience } from "./request.ts";
import type { HubSettings } from "./settings.ts";

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

/** A download with everything decided but the files. */
export interface FetchOptions extends DownloadOptions {
  readonly settings: HubSettings;
  readonly patience: Patience;
  readonly parallel: number;
}

/**
 * Brings files of a repository into the cache and returns the folder of its commit there: the files that `choose` picks of all that
 * the revision holds. What is there already is not fetched again.
 */
export async function fetchFiles(model: HubModel, choose: (files: readonly RemoteFile[]) => readonly RemoteFile[], { settings, patience, parallel, signal, onProgress }: FetchOptions): Promise<string> {
  const { sha, files: all } = await listModel(model, settings, patience, signal);
  const files = choose(all);
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
      await mkdir(dirname(join(folder, name)), { recursive: true });
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
  if (missing > bavail * bsize) throw new InputError("the disk of the cache has too little space for the download", { file: blobs, field: "HF_HUB_CACHE", got: `${bavail * bsize} bytes free`, wanted: `${missing} bytes` });
}

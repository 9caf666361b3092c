import { opendir, open, rm, stat } from "node:fs/promises";
import { basename, dirname, join, resolve, sep } from "node:path";
import { AtomicFile, InputError, syncFolder } from "@mistral-sae/tensor";
import { keySegments } from "./blob-key.ts";
import type { BlobCallOptions, BlobInfo, BlobSource, BlobStore, ByteRange } from "./blob-store.ts";

/** One read() never returns more than 2 GiB - 4 KiB on Linux. */
const MAX_READ = 1 << 30;

/** Blobs as files below one folder. Symbolic links inside it are the operator's own choice and are followed. */
export class FsBlobStore implements BlobStore {
  readonly root: string;

  constructor(root: string) {
    this.root = resolve(root);
  }

  /** Where a blob lies, for readers that open files themselves. */
  pathOf(key: string): string {
    return join(this.root, ...keySegments(key));
  }

  async get(key: string, range: ByteRange, into: Uint8Array, options: BlobCallOptions = {}): Promise<number> {
    if (into.length < range.length) {
      throw new InputError(`a range of ${key} does not fit the memory given`, { field: "into", got: `${into.length} bytes`, wanted: `at least ${range.length} bytes` });
    }
    const path = this.pathOf(key);
    await using file = await open(path, "r").catch((error: unknown) => {
      throw isMissing(error) ? new InputError(`there is no blob ${key}`, { file: path, field: "key", got: "nothing", wanted: "a blob" }) : error;
    });
    for (let read = 0; read < range.length; ) {
      options.signal?.throwIfAborted();
      const { bytesRead } = await file.read(into, read, Math.min(range.length - read, MAX_READ), range.start + read);
      read += bytesRead;
      if (bytesRead === 0) throw new InputError(`blob ${key} is too short`, { file: path, got: `${range.start + read} bytes`, wanted: `at least ${range.start + range.length} bytes` });
    }
    return range.length;
  }

  async put(key: string, source: BlobSource, options: BlobCallOptions = {}): Promise<BlobInfo> {
    await using file = await AtomicFile.create(this.pathOf(key));
    const size = await fill(file, source, options.signal);
    await file.commit();
    return { key, size, modified: new Date() };
  }

  async putIfAbsent(key: string, source: BlobSource, options: BlobCallOptions = {}): Promise<boolean> {
    await using file = await AtomicFile.create(this.pathOf(key));
    await fill(file, source, options.signal);
    return await file.commitIfAbsent();
  }

  async head(key: string): Promise<BlobInfo | undefined> {
    try {
      const found = await stat(this.pathOf(key));
      return found.isFile() ? { key, size: found.size, modified: found.mtime } : undefined;
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw error;
    }
  }

  async *list(prefix = ""): AsyncIterable<BlobInfo> {
    const keys = (await this.#keysBelow(prefix)).filter((key) => !isUnfinished(key));
    for (const key of keys.sort(byCodeUnits)) {
      const info = await this.head(key);
      if (info !== undefined) yield info;
    }
  }

  async delete(key: string): Promise<void> {
    const path = this.pathOf(key);
    if ((await this.head(key)) === undefined) return;
    await rm(path, { force: true });
    await syncFolder(dirname(path));
  }

  async removeUnfinished(prefix: string): Promise<void> {
    for (const key of await this.#keysBelow(prefix)) if (isUnfinished(key)) await rm(this.pathOf(key), { force: true });
  }

  async #keysBelow(prefix: string): Promise<string[]> {
    const folder = prefix.slice(0, Math.max(0, prefix.lastIndexOf("/")));
    const top = folder === "" ? this.root : this.pathOf(folder);
    const keys: string[] = [];
    try {
      for await (const entry of await opendir(top, { recursive: true })) {
        const key = join(entry.parentPath, entry.name).slice(this.root.length + 1).replaceAll(sep, "/");
        if (entry.isFile() && key.startsWith(prefix)) keys.push(key);
      }
    } catch (error) {
      if (!isMissing(error)) throw error;
    }
    return keys;
  }
}

async function fill(file: AtomicFile, source: BlobSource, signal: AbortSignal | undefined): Promise<number> {
  let written = 0;
  for await (const piece of source instanceof Uint8Array ? [source] : source) {
    signal?.throwIfAborted();
    await file.write(piece, written);
    written += piece.length;
  }
  return written;
}

/** What a killed AtomicFile leaves behind. */
function isUnfinished(key: string): boolean {
  return basename(key).startsWith(".") && key.endsWith(".tmp");
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && "code" in error && (error.code === "ENOENT" || error.code === "ENOTDIR");
}

function byCodeUnits(a: string, b: string): number {
  return a < b ? -1 : Number(a > b);
}

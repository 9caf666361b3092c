import { createHash, type Hash, randomBytes } from "node:crypto";
import { createReadStream } from "node:fs";
import { type FileHandle, link, mkdir, open, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";

/**
 * A file that appears at its path whole or not at all: bytes go to a temporary neighbour, which `commit` syncs and renames.
 * Without `commit` nothing is left behind once `discard` (or `await using`) has run.
 */
export class AtomicFile implements AsyncDisposable {
  readonly path: string;
  readonly #temporary: string;
  readonly #handle: FileHandle;
  #open = true;

  private constructor(path: string, temporary: string, handle: FileHandle) {
    this.path = path;
    this.#temporary = temporary;
    this.#handle = handle;
  }

  /** Starts a file that will appear at `path`; makes its folder when missing. */
  static async create(path: string): Promise<AtomicFile> {
    const folder = dirname(path);
    await mkdir(folder, { recursive: true });
    const temporary = join(folder, `.${basename(path)}.${randomBytes(6).toString("hex")}.tmp`);
    return new AtomicFile(path, temporary, await open(temporary, "wx"));
  }

  /** Writes all of `bytes` at `position` (bytes from the start). The caller may reuse `bytes` afterwards. */
  async write(bytes: Uint8Array, position: number): Promise<void> {
    for (let done = 0; done < bytes.byteLength; ) {
      const { bytesWritten } = await this.#handle.write(bytes, done, bytes.byteLength - done, position + done);
      done += bytesWritten;
    }
  }

  /** Syncs the bytes and makes the file appear at its path, replacing what was there. */
  async commit(): Promise<void> {
    await this.#publish(() => rename(this.#temporary, this.path));
  }

  /** As `commit`, but only when nothing is at the path yet. Returns whether the file appeared. */
  async commitIfAbsent(): Promise<boolean> {
    try {
      await this.#publish(async () => {
        await link(this.#temporary, this.path);
        await rm(this.#temporary, { force: true });
      });
      return true;
    } catch (error) {
      if (error instanceof Error && "code" in error && error.code === "EEXIST") return false;
      throw error;
    }
  }

  /** Removes the temporary file. Does nothing after `commit`. */
  async discard(): Promise<void> {
    if (!this.#open) return;
    this.#open = false;
    await this.#handle.close();
    await rm(this.#temporary, { force: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.discard();
  }

  async #publish(appear: () => Promise<void>): Promise<void> {
    await this.#handle.sync();
    this.#open = false;
    await this.#handle.close();
    try {
      await appear();
    } catch (error) {
      await rm(this.#temporary, { force: true });
      throw error;
    }
    await syncFolder(dirname(this.path));
  }
}

/** Makes renames inside `folder` durable. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Replaces the file at `path` in one step: temporary file, fsync, rename, fsync of the folder. */
export async function atomicWriteFile(path: string, content: Uint8Array | string): Promise<void> {
  await using file = await AtomicFile.create(path);
  await file.write(typeof content === "string" ? new TextEncoder().encode(content) : content, 0);
  await file.commit();
}

/** Lower-case hex SHA-256 of a file's bytes, read as a stream. */
export async function sha256File(path: string, signal?: AbortSignal): Promise<string> {
  const hash: Hash = createHash("sha256");
  const chunks: AsyncIterable<Uint8Array> = createReadStream(path, { highWaterMark: 1 << 20, ...(signal === undefined ? {} : { signal }) });
  for await (const chunk of chunks) hash.update(chunk);
  return hash.digest("hex");
}

import { createHash, type Hash } from "node:crypto";
import { type FileHandle, mkdir, open, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { HubError } from "./hub-error.ts";
import { claimPartial } from "./partial-file.ts";
import type { HubModel } from "./repository.ts";
import type { RemoteFile } from "./repository-files.ts";
import { get, retrying, Transient, type Patience } from "./request.ts";
import type { HubSettings } from "./settings.ts";

/** What a download of one file needs. */
export interface BlobRequest {
  readonly model: HubModel;
  readonly sha: string;
  readonly file: RemoteFile;
  /** Folder of the cache's blobs. */
  readonly blobs: string;
  readonly settings: HubSettings;
  readonly patience: Patience;
  readonly signal: AbortSignal | undefined;
  /** Told the bytes of the file that are on the disk; fewer than before when a part had to be thrown away. */
  readonly onBytes: (done: number) => void;
}

/** Downloads of this process, by the path of their blob: a second caller waits for the first. */
const active = new Map<string, Promise<unknown>>();

/**
 * Puts a file's bytes under their checksum in the cache, going on where an earlier attempt ended. The blob appears only
 * when all of it is there and its checksum is right. Throws HubError otherwise.
 */
export async function downloadBlob(request: BlobRequest): Promise<string> {
  const { file, blobs, onBytes } = request;
  const path = join(blobs, file.etag);
  for (;;) {
    if ((await sizeOf(path)) !== undefined) {
      onBytes(file.size);
      return path;
    }
    const other = active.get(path);
    if (other === undefined) break;
    await other.catch(() => undefined);
    request.signal?.throwIfAborted();
  }
  const work = fetchBlob(request, path).finally(() => active.delete(path));
  active.set(path, work);
  await work;
  return path;
}

async function fetchBlob(request: BlobRequest, path: string): Promise<void> {
  const { file, blobs } = request;
  await mkdir(blobs, { recursive: true });
  const partial = await claimPartial(blobs, file.etag);
  let got = await fillFile(request, partial);
  if (got !== file.etag) {
    // The part that was found may have been damaged, so the file is fetched once more, whole.
    await rm(partial, { force: true });
    got = await fillFile(request, partial);
  }
  if (got !== file.etag) {
    await rm(partial, { force: true });
    throw new HubError(`${request.model.id}: ${file.name} was downloaded twice and does not have the checksum that the hub gives: got ${got}, wanted ${file.etag}`);
  }
  await rename(partial, path);
}

/** Fetches what is missing of a file, and returns the checksum of the whole. */
async function fillFile({ model, sha, file, settings, patience, signal, onBytes }: BlobRequest, partial: string): Promise<string> {
  const url = `${settings.endpoint}/${model.id}/resolve/${sha}/${file.name.split("/").map(encodeURIComponent).join("/")}`;
  await using handle = await open(partial, (await sizeOf(partial)) === undefined ? "w+" : "r+");
  if ((await handle.stat()).size > file.size) await handle.truncate(0);
  let done = (await handle.stat()).size;
  let hash = await hashOf(handle, done, file);
  onBytes(done);
  const startAnew = async (): Promise<void> => {
    await handle.truncate(0);
    done = 0;
    hash = await hashOf(handle, 0, file);
    onBytes(0);
  };
  while (done < file.size) {
    await retrying(url, patience, signal, async (stop, alive) => {
      const headers = { "accept-encoding": "identity", ...(done === 0 ? {} : { range: `bytes=${done}-` }) };
      const response = await get(url, settings, model, headers, stop);
      if (done > 0 && !continues(response, done)) {
        await startAnew();
        if (response.status !== 200) {
          await response.body?.cancel();
          throw new Transient(`${url} does not go on where the download ended`);
        }
      }
      for await (const chunk of response.body ?? []) {
        if (done + chunk.byteLength > file.size) {
          await startAnew();
          throw new HubError(`${url} gives more than the ${file.size} bytes that the hub says`);
        }
        await writeAll(handle, chunk, done);
        hash.update(chunk);
        done += chunk.byteLength;
        alive(done);
        onBytes(done);
      }
      if (done < file.size) throw new Transient(`${url} ended after ${done} of ${file.size} bytes`);
    });
  }
  await handle.sync();
  return hash.digest("hex");
}

function continues(response: Response, done: number): boolean {
  return response.status === 206 && (response.headers.get("content-range") ?? "").startsWith(`bytes ${done}-`);
}

/** SHA-256 of large files; of others git's SHA-1 of a blob, which counts the size in. Fed with the bytes there are. */
async function hashOf(handle: FileHandle, length: number, file: RemoteFile): Promise<Hash> {
  const hash = file.etag.length === 64 ? createHash("sha256") : createHash("sha1").update(`blob ${file.size}\0`);
  const chunk = new Uint8Array(1 << 20);
  for (let at = 0; at < length; ) {
    const { bytesRead } = await handle.read(chunk, 0, Math.min(chunk.byteLength, length - at), at);
    if (bytesRead === 0) break;
    hash.update(chunk.subarray(0, bytesRead));
    at += bytesRead;
  }
  return hash;
}

async function writeAll(handle: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.byteLength; ) done += (await handle.write(bytes, done, bytes.byteLength - done, position + done)).bytesWritten;
}

async function sizeOf(path: string): Promise<number | undefined> {
  return await stat(path).then(
    ({ size }) => size,
    () => undefined,
  );
}

import { createHash } from "node:crypto";
import { readFile, realpath, stat } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { atomicWriteFile, sha256File } from "@mistral-sae/tensor";

/** Smaller files are hashed each time: that takes less than a tenth of a second. */
const worthKeeping = 1 << 26;

/** A file changed this shortly before it was hashed might change again without its times showing it. */
const settledMs = 2000;

/** A large file of a hub cache: its name is the SHA-256 that the hub gives it, against which downloads are verified. */
const hubBlob = /[\\/]models--[^\\/]+[\\/]blobs[\\/]([0-9a-f]{64})$/;

/** Folder of the digests that are kept, one small file for each large one. */
export function digestCacheDir(): string {
  const base = process.env["XDG_CACHE_HOME"];
  return join(base === undefined || base === "" ? join(homedir(), ".cache") : base, "mistral-sae", "digests");
}

/**
 * Lower-case hex SHA-256 of a file, without reading a large file at every start. The digest of a blob of a hub cache is
 * its name, taken on trust. That of another large file is computed once and kept in `cacheDir` with device, inode, size and the times of
 * its last changes to the nanosecond, and is computed anew when one of them differs. Where the folder cannot be written,
 * nothing is kept.
 */
export async function fileDigest(path: string, cacheDir = digestCacheDir(), keepFrom = worthKeeping): Promise<string> {
  const real = await realpath(path);
  const named = hubBlob.exec(real)?.[1];
  if (named !== undefined) return named;
  const before = await identity(real);
  if (before.size < keepFrom) return await sha256File(real);
  const record = join(cacheDir, `${createHash("sha256").update(real).digest("hex")}.json`);
  const kept = await readRecord(record);
  if (kept?.identity === before.text) return kept.sha256;
  const started = Date.now();
  const sha256 = await sha256File(real);
  const after = await identity(real);
  if (after.text === before.text && after.changedMs < started - settledMs) {
    await atomicWriteFile(record, JSON.stringify({ path: real, identity: before.text, sha256 })).catch(() => undefined);
  }
  return sha256;
}

async function identity(path: string): Promise<{ readonly size: number; readonly changedMs: number; readonly text: string }> {
  const { dev, ino, size, mtimeNs, ctimeNs, mtimeMs, ctimeMs } = await stat(path, { bigint: true });
  return { size: Number(size), changedMs: Math.max(Number(mtimeMs), Number(ctimeMs)), text: [dev, ino, size, mtimeNs, ctimeNs].join(":") };
}

async function readRecord(file: string): Promise<{ readonly identity: string; readonly sha256: string } | undefined> {
  try {
    const { identity, sha256 } = JSON.parse(await readFile(file, "utf8")) as { readonly identity?: unknown; readonly sha256?: unknown };
    return typeof identity === "string" && typeof sha256 === "string" && /^[0-9a-f]{64}$/.test(sha256) ? { identity, sha256 } : undefined;
  } catch {
    return undefined;
  }
}

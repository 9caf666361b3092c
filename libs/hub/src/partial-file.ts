import { readdir, rename, stat } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";

/** A partial file that nobody has written to for this long belongs to nobody, whatever process it names. */
const abandonedMs = 120_000;

const host = hostname().replaceAll(/[^\w.]/g, "_");

/**
 * Takes over what an earlier download left of a blob, the longest part of it, and returns the path to write to: a file of
 * this process's own, so that two processes never write to one. What has been taken is gone for everybody else, because a
 * rename happens once. Parts of live processes are left alone.
 */
export async function claimPartial(blobs: string, etag: string): Promise<string> {
  const own = join(blobs, `${etag}.${host}-${process.pid}.incomplete`);
  const parts: { readonly path: string; readonly size: number }[] = [];
  for (const name of await readdir(blobs)) {
    const match = /^([0-9a-f]+)(?:\.(.+)-(\d+))?\.incomplete$/.exec(name);
    if (match?.[1] !== etag) continue;
    const path = join(blobs, name);
    const found = await stat(path).catch(() => undefined);
    if (found === undefined || !found.isFile()) continue;
    const ours = path === own || (match[2] === host && !isAlive(Number(match[3])));
    if (ours || Date.now() - found.mtimeMs > abandonedMs) parts.push({ path, size: found.size });
  }
  for (const { path } of parts.sort((a, b) => b.size - a.size)) {
    if (path === own) break;
    const taken = await rename(path, own).then(
      () => true,
      () => false,
    );
    if (taken) break;
  }
  return own;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && "code" in error && error.code === "EPERM";
  }
}

import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { stripTypeScriptTypes } from "node:module";
import { extname, join, relative, sep } from "node:path";

/** A file as it is served. */
export interface PageFile {
  readonly body: Buffer;
  readonly contentType: string;
  readonly etag: string;
}

const CONTENT_TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".svg": "image/svg+xml",
  ".ts": "text/javascript; charset=utf-8",
};

/**
 * The files of a folder by URL path, `/` being index.html. TypeScript is served as JavaScript: its types are blanked
 * out once, here, so that the page needs no build.
 */
export function readPage(folder: string): ReadonlyMap<string, PageFile> {
  const files = new Map<string, PageFile>();
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    const contentType = CONTENT_TYPES[extname(path)];
    if (!entry.isFile() || contentType === undefined) continue;
    const bytes = readFileSync(path);
    const body = path.endsWith(".ts") ? Buffer.from(stripTypeScriptTypes(bytes.toString("utf8")), "utf8") : bytes;
    const etag = `"${createHash("sha256").update(body).digest("base64url").slice(0, 22)}"`;
    const url = `/${relative(folder, path).split(sep).join("/")}`;
    const file = { body, contentType, etag };
    files.set(url, file);
    if (url === "/index.html") files.set("/", file);
  }
  return files;
}

import { readdir } from "node:fs/promises";
import { isAbsolute, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { DurableState } from "@mistral-sae/jobs";
import { failedPrecondition, invalidArgument } from "@mistral-sae/rpc";
import type { IndexRecord } from "../catalogue/records.ts";

/**
 * The folder that an export of an index goes to: what was asked for, or one of its own below `exports`.
 * @throws RpcError INVALID_ARGUMENT for what is no absolute path.
 */
export function exportFolder(uri: string, exports: string, index: Pick<IndexRecord, "id">, format: string): string {
  return uri === "" ? join(exports, `${index.id}-${format}`) : folderOf(uri);
}

/** The path of a folder that a request names. @throws RpcError INVALID_ARGUMENT for what is no absolute path. */
export function folderOf(uri: string): string {
  const folder = uri.startsWith("file://") ? fileURLToPath(uri) : uri;
  if (!isAbsolute(folder)) throw invalidArgument("uri", `got ${JSON.stringify(uri)}, wanted the absolute path of a folder on the machine of the feature index`);
  return folder;
}

/**
 * Makes the folder an operation's own; one that is its own already, from before a restart, is left as it is.
 * @throws RpcError FAILED_PRECONDITION FOLDER_NOT_EMPTY, INVALID_ARGUMENT for a file.
 */
export async function takeFolder(folder: string, state: DurableState): Promise<void> {
  if (state.get("folder") === folder) return;
  const there = await namesIn(folder);
  if (there.length > 0) throw failedPrecondition("FOLDER_NOT_EMPTY", `${folder} holds ${there.length} files already; name an empty folder, or one that is not there yet`, { folder });
  state.set("folder", folder);
}

async function namesIn(folder: string): Promise<readonly string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return [];
    if (error instanceof Error && "code" in error && error.code === "ENOTDIR") throw invalidArgument("uri", `${folder} is a file, wanted a folder`);
    throw error;
  }
}

import { join } from "node:path";
import { InputError } from "@mistral-sae/tensor";

/** A model on the hub. */
export interface HubModel {
  /** `{owner}/{name}`. */
  readonly id: string;
  /** Branch, tag or commit. */
  readonly revision: string;
}

const part = /^[\w](?:[\w.-]{0,94}[\w])?$/;
const commit = /^[0-9a-f]{40}$/;

export const usualRevision = "main";

export function isCommit(revision: string): boolean {
  return commit.test(revision);
}

/** Whether a text reads like a hub id: `{owner}/{name}`, also after `hf://` and with `@{revision}`. */
export function looksLikeHubId(text: string): boolean {
  const [id = ""] = text.replace(/^hf:\/\//, "").split("@");
  const parts = id.split("/");
  return parts.length === 2 && parts.every((name) => part.test(name) && !/--|\.\./.test(name));
}

/**
 * Reads `{owner}/{name}`, optionally with `hf://` before and `@{revision}` behind. Throws InputError for anything else,
 * and for a revision that is not a name git allows.
 */
export function parseHubId(text: string, revision?: string): HubModel {
  if (!looksLikeHubId(text)) throw new InputError("not the id of a model on the hub", { field: "id", got: text, wanted: "owner/name or owner/name@revision" });
  const [id = "", behind] = text.replace(/^hf:\/\//, "").split(/@(.*)/s);
  const wanted = revision ?? behind ?? usualRevision;
  if (!/^[\w][\w./-]*$/.test(wanted) || wanted.includes("..") || wanted.endsWith("/") || wanted.includes("//")) {
    throw new InputError("not the name of a revision", { field: "revision", got: wanted, wanted: "a branch, a tag or a commit" });
  }
  return { id, revision: wanted };
}

/** Where a model's files lie in a cache. */
export interface CachePlaces {
  readonly blobs: string;
  /** Holds the commit that a branch or tag pointed to when it was last downloaded. */
  readonly ref: string;
  snapshot(sha: string): string;
}

export function cachePlaces(cacheDir: string, { id, revision }: HubModel): CachePlaces {
  const folder = join(cacheDir, `models--${id.replaceAll("/", "--")}`);
  return { blobs: join(folder, "blobs"), ref: join(folder, "refs", revision), snapshot: (sha) => join(folder, "snapshots", sha) };
}

import { InputError } from "@mistral-sae/tensor";
import { HubError } from "./hub-error.ts";
import { isCommit, type HubModel } from "./repository.ts";
import { get, retrying, Transient, type Patience } from "./request.ts";
import type { HubSettings } from "./settings.ts";

/** A file of a repository on the hub. */
export interface RemoteFile {
  /** Its path there, with `/` between folders. */
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  /** Name of the blob: SHA-256 of the bytes (64 hex digits) of a large file, git's SHA-1 of the blob (40) of others. */
  readonly etag: string;
}

/** A repository's commit, and all of its files. */
export interface RemoteModel {
  readonly sha: string;
  readonly files: readonly RemoteFile[];
}

const etagPattern = /^(?:[0-9a-f]{40}|[0-9a-f]{64})$/;

/** Asks the hub what a revision holds. Throws InputError for an unknown or closed model, HubError when there is no answer. */
export async function listModel(model: HubModel, settings: HubSettings, patience: Patience, signal?: AbortSignal): Promise<RemoteModel> {
  const url = `${settings.endpoint}/api/models/${model.id}/revision/${encodeURIComponent(model.revision)}?blobs=true`;
  return await retrying(url, patience, signal, async (stop) => {
    const response = await get(url, settings, model, { accept: "application/json" }, stop);
    let answer: unknown;
    try {
      answer = await response.json();
    } catch (error) {
      throw new Transient(`${url} answered something that is not JSON`, undefined, { cause: error });
    }
    return readAnswer(url, answer);
  });
}

function readAnswer(url: string, answer: unknown): RemoteModel {
  const { sha, siblings } = record(answer);
  if (typeof sha !== "string" || !isCommit(sha) || !Array.isArray(siblings)) throw new HubError(`${url}: the answer has no commit and files`);
  const files: RemoteFile[] = [];
  for (const sibling of siblings) {
    const { rfilename, size, blobId, lfs } = record(sibling);
    if (typeof rfilename !== "string") continue;
    // A name that would lead out of the folder it belongs in.
    if (rfilename.split("/").some((part) => part === "" || part === "." || part === "..") || rfilename.includes("\\")) throw new HubError(`${url}: the answer names a file "${rfilename}"`);
    const etag = record(lfs)["sha256"] ?? blobId;
    if (typeof etag !== "string" || !etagPattern.test(etag) || !Number.isSafeInteger(size) || Number(size) < 0) throw new HubError(`${url}: the answer gives no size and checksum of ${rfilename}`);
    files.push({ name: rfilename, size: Number(size), etag });
  }
  return { sha, files };
}

function record(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null ? (value as Readonly<Record<string, unknown>>) : {};
}

/** Files that say what a model is and how its text is cut into tokens. */
const small = /^(?:config|generation_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens|chat_template|processor_config|tekken|params)\.json$|^tokenizer\.model(?:\.v\d+\w*)?$|^chat_template\.jinja$/;
const weights = /^model(?:-\d+-of-\d+)?\.safetensors(?:\.index\.json)?$/;
const consolidated = /^consolidated(?:-\d+-of-\d+)?\.safetensors(?:\.index\.json)?$/;

/**
 * The files that this program reads of a model: configuration, tokenizer, and the weights in the Hugging Face layout or,
 * where there are none, in Mistral's own. Throws InputError for a model without safetensors.
 */
export function filesToRead(model: HubModel, all: readonly RemoteFile[]): readonly RemoteFile[] {
  const files = all.filter(({ name }) => !name.includes("/"));
  const matching = (pattern: RegExp): readonly RemoteFile[] => files.filter(({ name }) => pattern.test(name));
  const found = [weights, consolidated].map(matching).find((list) => list.some(({ name }) => name.endsWith(".safetensors")));
  if (found === undefined) {
    const others = files.map(({ name }) => name).filter((name) => /\.(?:bin|pt|pth|gguf|h5|msgpack|safetensors)$/.test(name));
    throw new InputError(`${model.id} has no weights that this program reads`, { field: "id", got: others.join(", ") || "no weights", wanted: "model.safetensors, its shards, or consolidated.safetensors" });
  }
  return [...matching(small), ...found];
}

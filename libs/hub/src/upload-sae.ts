import { openAsBlob } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { InputError, sha256File } from "@mistral-sae/tensor";
import { HubError } from "./hub-error.ts";
import type { HubModel } from "./repository.ts";
import { listModel } from "./repository-files.ts";
import { usualPatience, type Patience } from "./request.ts";
import { patientFetch } from "./patient-fetch.ts";
import { saeCard } from "./sae-card.ts";
import { readHubSettings, type HubSettings } from "./settings.ts";

/** The files of a SAELens folder that go to the hub, as SAELens' own upload picks them. */
const UPLOADED = ["cfg.json", "sae_weights.safetensors", "sparsity.safetensors", "runner_cfg.json"] as const;
const REQUIRED = ["cfg.json", "sae_weights.safetensors"] as const;
const CARD = "README.md";

export interface UploadSaeOptions {
  /** From the environment unless given. */
  readonly settings?: HubSettings;
  readonly patience?: Patience;
  /** Whether a repository that has to be made is private. Default false. */
  readonly isPrivate?: boolean;
  /** Whether a repository without a README.md gets one. Default true. */
  readonly card?: boolean;
  readonly signal?: AbortSignal | undefined;
  /** Told the part of a file that is hashed or sent, 0 to 1. */
  readonly onProgress?: (file: string, part: number) => void;
}

export interface UploadedSae {
  readonly commit: string;
  readonly url: string;
  /** Paths in the repository. */
  readonly files: readonly string[];
  readonly createdRepository: boolean;
}

/**
 * Puts a SAELens folder into a repository of the hub as `SAE.from_pretrained(id, saeId)` reads it: one commit with the configuration,
 * the weights and what belongs to them under `{saeId}/`, and a README.md where there is none. The repository is made when it is missing.
 * Afterwards the hub's own checksums are compared with the files'.
 * Throws InputError for a folder that is no SAELens SAE, an id that does not do, or a token that may not write; HubError when the hub
 * does not take what it should.
 */
export async function uploadSae(folder: string, model: HubModel, saeId: string, options: UploadSaeOptions = {}): Promise<UploadedSae> {
  const settings = options.settings ?? (await readHubSettings());
  const { patience = usualPatience, isPrivate = false, card = true, signal, onProgress } = options;
  const path = requireSaeId(saeId);
  const names = await namesOf(folder);
  if (settings.offline) throw new InputError("nothing may be sent to the hub", { field: "HF_HUB_OFFLINE", got: "set", wanted: "unset" });
  if (settings.token === undefined) throw new InputError("an upload needs a token", { field: "HF_TOKEN", got: "nothing", wanted: "a token that may write to the repository" });
  if (!settings.token.startsWith("hf_")) throw new InputError("not a token of the hub", { field: "HF_TOKEN", got: "another text", wanted: "a token, which begins with hf_" });
  // Loaded when needed: most commands have nothing to do with it.
  const hub = await import("@huggingface/hub");
  const common = { repo: { type: "model", name: model.id } as const, hubUrl: settings.endpoint, accessToken: settings.token, fetch: patientFetch(patience, signal) };
  try {
    const createdRepository = !(await hub.repoExists(common));
    if (createdRepository) await hub.createRepo({ ...common, visibility: isPrivate ? "private" : "public" });
    const withCard = card && (createdRepository || !(await hub.fileExists({ ...common, path: CARD, revision: model.revision })));
    const operations = await Promise.all(names.map(async (name) => ({ operation: "addOrUpdate" as const, path: `${path}/${name}`, content: await openAsBlob(join(folder, name)) })));
    if (withCard) operations.push({ operation: "addOrUpdate", path: CARD, content: new Blob([saeCard(model.id, path)]) });
    const progress = hub.commitIter({ ...common, operations, branch: model.revision, title: `Upload SAE ${path}`, ...(signal === undefined ? {} : { abortSignal: signal }) });
    for (;;) {
      const { done, value } = await progress.next();
      if (done === true) {
        if (value === undefined) throw new HubError(`${settings.endpoint} did not say what the commit is`);
        const files = operations.map((operation) => operation.path);
        await requireUploaded(folder, model, path, names, value.commit.oid, settings, patience, signal);
        return { commit: value.commit.oid, url: value.commit.url, files, createdRepository };
      }
      if (value.event === "fileProgress") onProgress?.(value.path, value.progress);
    }
  } catch (error) {
    signal?.throwIfAborted();
    if (error instanceof InputError || error instanceof HubError) throw error;
    if (error instanceof hub.HubApiError && (error.statusCode === 401 || error.statusCode === 403)) {
      throw new InputError(`${settings.endpoint} does not let ${model.id} be written`, { field: "HF_TOKEN", got: `${error.statusCode} ${error.message}`, wanted: "a token that may write to the repository" }, { cause: error });
    }
    throw new HubError(`${settings.endpoint}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
}

/** An id becomes a folder of the repository. */
function requireSaeId(saeId: string): string {
  const path = saeId.replace(/^\/+|\/+$/g, "");
  if (!/^[\w.-]+(?:\/[\w.-]+)*$/.test(path) || path.split("/").some((part) => part === "." || part === "..")) throw new InputError("not an id of an SAE", { field: "sae_id", got: saeId, wanted: "a folder in the repository, such as blocks.16.hook_resid_post" });
  return path;
}

async function namesOf(folder: string): Promise<readonly string[]> {
  const there = new Set(await readdir(folder).catch(() => []));
  for (const name of REQUIRED) {
    if (!there.has(name)) throw new InputError("the folder is no SAE of SAELens", { file: folder, field: name, got: [...there].slice(0, 8).join(", ") || "nothing", wanted: `${REQUIRED.join(" and ")}; mistral-sae sae convert writes them` });
  }
  return UPLOADED.filter((name) => there.has(name));
}

/** Compares what the hub says of the commit's files with the files here; small ones are kept under git's checksum, so only by size. */
async function requireUploaded(folder: string, model: HubModel, path: string, names: readonly string[], commit: string, settings: HubSettings, patience: Patience, signal: AbortSignal | undefined): Promise<void> {
  const { files } = await listModel({ ...model, revision: commit }, settings, patience, signal);
  for (const name of names) {
    const found = files.find((file) => file.name === `${path}/${name}`);
    const local = join(folder, name);
    const { size } = await stat(local);
    const same = found !== undefined && found.size === size && (found.etag.length !== 64 || found.etag === (await sha256File(local)));
    if (!same) throw new HubError(`${settings.endpoint}: ${path}/${name} of the commit ${commit} is not the file that was sent: got ${found === undefined ? "no file" : `${found.size} bytes, ${found.etag}`}, wanted ${size} bytes`);
  }
}

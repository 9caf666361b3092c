import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { InputError } from "@mistral-sae/tensor";
import { downloadDefaults, type DownloadOptions, fetchFiles } from "./fetch-files.ts";
import { HubError } from "./hub-error.ts";
import { cachePlaces, isCommit, type HubModel } from "./repository.ts";
import { chooseFolder, SAE_WEIGHTS, saeFiles } from "./sae-files.ts";
import { readHubSettings, type HubSettings } from "./settings.ts";

export interface DownloadSaeOptions extends DownloadOptions {
  /** Folder of the SAE in the repository, SAELens' sae_id; needed where there are several. */
  readonly folder?: string | undefined;
}

/**
 * Brings one SAE of a repository into the cache that Python's huggingface_hub uses too, and returns its folder there. Repositories hold
 * SAEs in folders by hook or id, each with its configuration and weights. Goes on where an earlier download ended; every checksum is
 * verified. Nothing is sent for a commit whose SAE is in the cache; offline, or when the hub cannot be reached, the revision that was
 * downloaded last is used.
 * Throws as {@link downloadModel} does, and InputError naming the folders when `folder` is none of them.
 */
export async function downloadSae(model: HubModel, options: DownloadSaeOptions = {}): Promise<string> {
  const { patience, parallel } = { ...downloadDefaults, ...options };
  const settings = options.settings ?? (await readHubSettings());
  options.signal?.throwIfAborted();
  const cached = await findCachedSae(model, options.folder, settings);
  if (cached !== undefined && (settings.offline || isCommit(model.revision))) return cached;
  if (settings.offline) {
    throw new InputError("the SAE is not in the cache, and the hub may not be asked", { field: "id", got: [model.id, options.folder].filter(Boolean).join("/"), wanted: `an SAE in ${settings.cacheDir}, or HF_HUB_OFFLINE unset` });
  }
  let folder = "";
  try {
    const snapshot = await fetchFiles(
      model,
      (files) => {
        folder = chooseFolder(model, files, options.folder);
        return saeFiles(files, folder);
      },
      { ...options, settings, patience, parallel },
    );
    return join(snapshot, folder);
  } catch (error) {
    if (error instanceof HubError && cached !== undefined) return cached;
    throw error;
  }
}

async function findCachedSae(model: HubModel, folder: string | undefined, { cacheDir }: HubSettings): Promise<string | undefined> {
  const places = cachePlaces(cacheDir, model);
  const sha = isCommit(model.revision) ? model.revision : (await readFile(places.ref, "utf8").catch(() => "")).trim();
  if (!isCommit(sha)) return undefined;
  const path = join(places.snapshot(sha), ...(folder ?? "").split("/"));
  const has = async (name: string): Promise<boolean> => await stat(join(path, name)).then((found) => found.isFile(), () => false);
  for (const weights of SAE_WEIGHTS) if ((await has(weights)) && (weights === "ae.pt" || (await has("cfg.json")))) return path;
  return undefined;
}

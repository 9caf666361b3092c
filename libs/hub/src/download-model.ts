import { InputError } from "@mistral-sae/tensor";
import { findCached } from "./cached-model.ts";
import { downloadDefaults, type DownloadOptions, fetchFiles } from "./fetch-files.ts";
import { HubError } from "./hub-error.ts";
import { isCommit, type HubModel } from "./repository.ts";
import { filesToRead } from "./repository-files.ts";
import { readHubSettings } from "./settings.ts";

/**
 * Brings a model of the hub into the cache, and returns its folder there (`snapshots/{commit}`, links to the blobs). The
 * folder holds what this program reads: configuration, tokenizer and safetensors weights. What is there already is not
 * fetched again, also after a download that was cut off in the middle of a file; every file's checksum is verified.
 *
 * Nothing is sent for a commit that is in the cache whole. Offline, or when the hub cannot be reached, the revision that
 * was downloaded last is used.
 * Throws InputError for an id, a revision or a token that does not do, or too little space; HubError when the hub does not
 * give what it should; the signal's reason when cancelled, keeping what has come.
 */
export async function downloadModel(model: HubModel, options: DownloadOptions = {}): Promise<string> {
  const { patience, parallel } = { ...downloadDefaults, ...options };
  const settings = options.settings ?? (await readHubSettings());
  options.signal?.throwIfAborted();
  const cached = await findCached(model, settings);
  if (cached !== undefined && (settings.offline || isCommit(model.revision))) return cached;
  if (settings.offline) {
    throw new InputError(`the model is not in the cache, and the hub may not be asked`, { field: "id", got: `${model.id}@${model.revision}`, wanted: `a model in ${settings.cacheDir}, or HF_HUB_OFFLINE unset` });
  }
  try {
    return await fetchFiles(model, (files) => filesToRead(model, files), { ...options, settings, patience, parallel });
  } catch (error) {
    if (error instanceof HubError && cached !== undefined) return cached;
    throw error;
  }
}

import { stat } from "node:fs/promises";
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { downloadModel, HubError, type HubModel, looksLikeHubId, parseHubId } from "@mistral-sae/hub";
import type { JobContext } from "@mistral-sae/jobs";
import { invalidArgument, unavailable } from "@mistral-sae/rpc";

/** Where a model comes from: a folder that is there, or the model hub. */
export type ModelPlace = { readonly folder: string } | { readonly hub: HubModel };

/** Reads a uri: a folder, or `{owner}/{name}[@revision]` when there is no such folder. @throws INVALID_ARGUMENT. */
export async function findModel(uri: string): Promise<ModelPlace> {
  if (uri === "") throw invalidArgument("uri", "is empty, wanted the folder of a model or its id on the hub");
  if (!uri.startsWith("hf://")) {
    const folder = uri.startsWith("file://") ? fileURLToPath(uri) : resolve(uri);
    const found = await stat(folder).catch(() => undefined);
    if (found?.isDirectory() === true) return { folder };
  }
  if (looksLikeHubId(uri)) return { hub: parseHubId(uri) };
  throw invalidArgument("uri", `got ${JSON.stringify(uri)}, wanted a folder with config.json and *.safetensors, or a hub id like owner/name`);
}

/** The folder of a model, downloaded first where it is on the hub. @throws InputError; UNAVAILABLE HUB_UNAVAILABLE. */
export async function fetchModel(place: ModelPlace, { signal, progress }: Pick<JobContext, "signal" | "progress">): Promise<string> {
  if ("folder" in place) return place.folder;
  try {
    return await downloadModel(place.hub, {
      signal,
      onProgress: ({ doneBytes, totalBytes }) => progress({ stage: "download", doneUnits: doneBytes, totalUnits: totalBytes, unit: "bytes" }),
    });
  } catch (error) {
    if (error instanceof HubError) throw unavailable("HUB_UNAVAILABLE", error.message, 30_000);
    throw error;
  }
}

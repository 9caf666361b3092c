import { InputError } from "@mistral-sae/tensor";
import type { HubModel } from "./repository.ts";
import type { RemoteFile } from "./repository-files.ts";

/** Weights files of the SAE layouts on the hub: SAELens', sparsify's, dictionary_learning's. */
export const SAE_WEIGHTS = ["sae_weights.safetensors", "sae.safetensors", "ae.pt"] as const;

/** What belongs to the weights in their folder. */
const COMPANIONS: ReadonlySet<string> = new Set([...SAE_WEIGHTS, "cfg.json", "config.json", "runner_cfg.json", "sparsity.safetensors", "activation_scaler.json", "activation_whitening.safetensors"]);

/** Folders of a repository that hold an SAE, by name; "" is its top. */
export function saeFolders(files: readonly RemoteFile[]): readonly string[] {
  const found = files.filter(({ name }) => SAE_WEIGHTS.some((weights) => weights === lastPart(name))).map(({ name }) => folderOf(name));
  return [...new Set(found)].sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
}

/** The folder meant: the one named, or the only one. Throws InputError naming those that there are. */
export function chooseFolder(model: HubModel, files: readonly RemoteFile[], wanted: string | undefined): string {
  const folders = saeFolders(files);
  const [only] = folders;
  if (only === undefined) throw new InputError(`${model.id} holds no SAE`, { field: "id", got: files.slice(0, 8).map(({ name }) => name).join(", ") || "no files", wanted: `a folder with ${SAE_WEIGHTS.join(", ")}` });
  const named = folders.slice(0, 24).map((folder) => folder || "the top folder").join(", ") + (folders.length > 24 ? ` and ${folders.length - 24} more` : "");
  if (wanted === undefined) {
    if (folders.length === 1) return only;
    throw new InputError(`${model.id} holds several SAEs`, { field: "folder", got: "none", wanted: named });
  }
  const folder = wanted.replace(/^\/+|\/+$/g, "");
  if (!folders.includes(folder)) throw new InputError(`${model.id} has no SAE in that folder`, { field: "folder", got: wanted, wanted: named });
  return folder;
}

/** The files of one SAE: its folder's, and the config.json of the run above that sparsify writes. */
export function saeFiles(files: readonly RemoteFile[], folder: string): readonly RemoteFile[] {
  const above = folderOf(folder);
  return files.filter(({ name }) => (folderOf(name) === folder && COMPANIONS.has(lastPart(name))) || (folder !== "" && folderOf(name) === above && lastPart(name) === "config.json"));
}

export function folderOf(name: string): string {
  return name.slice(0, Math.max(0, name.lastIndexOf("/")));
}

function lastPart(name: string): string {
  return name.slice(name.lastIndexOf("/") + 1);
}

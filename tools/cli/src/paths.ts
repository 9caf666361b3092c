import { stat } from "node:fs/promises";
import { resolve } from "node:path";
import { looksLikeHubId } from "@mistral-sae/hub";

/** A path as the user meant it: `npm start` runs in the project's root and says in MISTRAL_SAE_CWD where the user stood. */
export function userPath(path: string): string {
  return path.includes("://") ? path : resolve(process.env["MISTRAL_SAE_CWD"] ?? process.cwd(), path);
}

/** A model as the inference service reads it: a folder made absolute, or a hub id where there is no such folder. */
export async function modelUri(text: string): Promise<string> {
  const folder = userPath(text);
  const found = await stat(folder).catch(() => undefined);
  return found === undefined && looksLikeHubId(text) ? text : folder;
}

/** A corpus as a service reads it: every path or glob of the list made absolute, one a line. */
export function corpusUri(paths: readonly string[]): string {
  return paths.map(userPath).join("\n");
}

/** A resource id made of a folder's or hub's name. */
export function idOfFolder(path: string): string {
  const name = path.split("/").findLast((part) => part !== "") ?? "";
  return name.toLowerCase().replaceAll(/[^a-z0-9]+/g, "-").replaceAll(/^-+|-+$/g, "").slice(0, 63) || "model";
}

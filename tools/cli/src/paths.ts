import { resolve } from "node:path";

/** A path as the user meant it: `npm start` runs in the project's root and says in MISTRAL_SAE_CWD where the user stood. */
export function userPath(path: string): string {
  return path.includes("://") ? path : resolve(process.env["MISTRAL_SAE_CWD"] ?? process.cwd(), path);
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

import { resolve } from "node:path";

/** A path as the user meant it: npm runs scripts in the project's root, INIT_CWD is where the user stood. */
export function userPath(path: string): string {
  return path.includes("://") ? path : resolve(process.env["INIT_CWD"] ?? process.cwd(), path);
}

/** A corpus as a service reads it: every path or glob of the list made absolute, one a line. */
export function corpusUri(paths: readonly string[]): string {
  return paths.map(userPath).join("\n");
}

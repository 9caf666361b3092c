import { accessSync, constants, statSync } from "node:fs";
import { delimiter, join } from "node:path";

/** What runs the SQL: a ClickHouse binary, or the engine library of the chdb package. */
export interface Engine {
  readonly kind: "binary" | "library";
  /** The file. */
  readonly path: string;
}

/**
 * The engine of this machine: a `clickhouse` binary on PATH where there is one, else the library that chdb installed.
 * Throws an error that says what to install when neither is there.
 */
export async function findEngine(env: NodeJS.ProcessEnv = process.env): Promise<Engine> {
  const binary = onPath("clickhouse", env["PATH"] ?? "");
  if (binary !== undefined) return { kind: "binary", path: binary };
  const library = await chdbLibrary(env);
  if (library !== undefined) return { kind: "library", path: library };
  throw new Error(
    `no ClickHouse engine for ${process.platform}-${process.arch}: no "clickhouse" on PATH, and chdb has no library here; ` +
      "install ClickHouse, or run npm install without --omit=optional, or give the URL of a server",
  );
}

/** Path of chdb's engine. Found, not loaded: loading it would put a second engine into this process. */
async function chdbLibrary(env: NodeJS.ProcessEnv): Promise<string | undefined> {
  try {
    const { tryResolveLibchdb } = await import("chdb/libchdb");
    return tryResolveLibchdb({ env })?.path;
  } catch {
    // An installation for a server elsewhere leaves the package out.
    return undefined;
  }
}

function onPath(name: string, path: string): string | undefined {
  return path
    .split(delimiter)
    .filter((folder) => folder !== "")
    .map((folder) => join(folder, name))
    .find(isExecutable);
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

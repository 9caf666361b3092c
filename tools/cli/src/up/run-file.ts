import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import type { ServiceName } from "./services.ts";

/** Where a running system can be reached. */
export interface Addresses {
  /** host:port of the gateway's gRPC, which serves every service. */
  readonly gateway: string;
  /** URL of the page and of Connect, gRPC-Web and JSON. */
  readonly http: string;
  /** host:port of each service. */
  readonly services: Readonly<Record<ServiceName, string>>;
}

/** What run.json says of a running system. */
export interface RunFile {
  readonly pid: number;
  readonly startedAt: string;
  readonly addresses: Addresses;
  /** Process of each service. */
  readonly pids: Readonly<Record<string, number>>;
}

/** A held lock on a data folder. */
export interface DataLock {
  release(): void;
}

/**
 * Takes the lock of a data folder, or returns undefined where another process holds it.
 * The lock is SQLite's on a file, so the kernel drops it with the process, however that ends.
 */
export function lockData(dataDir: string): DataLock | undefined {
  mkdirSync(dataDir, { recursive: true });
  const database = new DatabaseSync(join(dataDir, "run.lock"), { timeout: 0 });
  try {
    database.exec("BEGIN EXCLUSIVE");
  } catch (error) {
    database.close();
    if (error instanceof Error && error.message.includes("locked")) return undefined;
    throw error;
  }
  return { release: () => database.close() };
}

/** Writes run.json so that readers see the old or the new one, never half of it. */
export function writeRunFile(dataDir: string, run: RunFile): void {
  const path = join(dataDir, "run.json");
  writeFileSync(`${path}.tmp`, `${JSON.stringify(run, undefined, 2)}\n`);
  renameSync(`${path}.tmp`, path);
}

/** Removes run.json. */
export function removeRunFile(dataDir: string): void {
  rmSync(join(dataDir, "run.json"), { force: true });
}

/** The system that runs on a data folder; undefined when none does. */
export function runningSystem(dataDir: string): RunFile | undefined {
  const lock = lockData(dataDir);
  if (lock !== undefined) {
    lock.release();
    return undefined;
  }
  try {
    return JSON.parse(readFileSync(join(dataDir, "run.json"), "utf8")) as RunFile;
  } catch {
    return undefined;
  }
}

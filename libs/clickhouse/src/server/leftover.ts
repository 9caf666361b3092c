import { readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { isRunning, processIdentity, type ProcessIdentity } from "./process-identity.ts";

/** Who serves a data folder, as its pid file says. */
interface PidFile {
  /** Processes of the server. */
  readonly server: readonly ProcessIdentity[];
  /** The process that started it. */
  readonly owner: ProcessIdentity;
}

/** A data folder that another live process is using. */
export class DataFolderInUse extends Error {
  override readonly name = "DataFolderInUse";
  readonly folder: string;

  constructor(folder: string, by: string) {
    super(`the ClickHouse data folder ${folder} is in use by ${by}; stop that first, or choose another folder`);
    this.folder = folder;
  }
}

/** Notes which processes serve the folder, and which process owns them. */
export function writePidFile(path: string, ownerPid: number, pids: readonly number[]): void {
  const server = pids.map(processIdentity).filter((identity) => identity !== undefined);
  const owner = processIdentity(ownerPid) ?? { pid: ownerPid, started: "" };
  // Readers see the old file or the new one, also when this process is killed in between.
  writeFileSync(`${path}.tmp`, JSON.stringify({ server, owner } satisfies PidFile), { mode: 0o600 });
  renameSync(`${path}.tmp`, path);
}

export function removePidFile(path: string): void {
  rmSync(path, { force: true });
}

/**
 * Ends a server whose owner died without ending it. Throws DataFolderInUse when the owner still lives.
 * A pid file whose processes are gone, or whose ids were taken by others since, is only removed.
 */
export async function endLeftover(pidFile: string, folder: string, patienceMs: number): Promise<void> {
  const noted = readPidFile(pidFile);
  if (noted === undefined) return;
  const alive = noted.server.filter(isRunning);
  if (alive.length > 0 && isRunning(noted.owner)) throw new DataFolderInUse(folder, `process ${noted.owner.pid}`);
  // Its watcher may be ending it already; a second SIGTERM does no harm.
  await end(alive, "SIGTERM", patienceMs);
  await end(alive, "SIGKILL", 2_000);
  removePidFile(pidFile);
}

async function end(processes: readonly ProcessIdentity[], signal: NodeJS.Signals, patienceMs: number): Promise<void> {
  const until = Date.now() + patienceMs;
  for (const identity of processes.filter(isRunning)) process.kill(identity.pid, signal);
  while (processes.some(isRunning) && Date.now() < until) await sleep(25);
}

function readPidFile(path: string): PidFile | undefined {
  try {
    const { server, owner } = JSON.parse(readFileSync(path, "utf8")) as PidFile;
    return Array.isArray(server) && typeof owner.pid === "number" ? { server, owner } : undefined;
  } catch {
    // Absent, or torn by a crash while it was written: the folder's own lock still guards it.
    return undefined;
  }
}

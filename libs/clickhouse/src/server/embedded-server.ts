import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { closeSync, mkdirSync, openSync, readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { findEngine } from "./engine.ts";
import { freePort } from "./free-port.ts";
import { DataFolderInUse, endLeftover, removePidFile } from "./leftover.ts";
import { type AnalystLimits, analystDefaults, type Login, writeServerFiles } from "./server-files.ts";
import type { ServerProcessOptions } from "./server-process.ts";

/** A ClickHouse server that takes queries over HTTP. */
export interface ClickHouseServer {
  readonly url: string;
  /** May do everything. */
  readonly owner: Login;
  /** May read the views database, within limits. */
  readonly analyst: Login;
  /** Process of an embedded server. */
  readonly pid: number | undefined;
  /** Resolves with a reason when an embedded server ends without having been asked to. */
  readonly died: Promise<Error>;
  /** Ends an embedded server: SIGTERM, then SIGKILL. Does nothing to a server of others. */
  stop(): Promise<void>;
}

/** How an embedded server is started. */
export interface EmbeddedServerOptions {
  /** Folder that this server alone uses. */
  readonly folder: string;
  /** Threads of one query and of merges. */
  readonly threads?: number;
  /** Memory of all queries together, in bytes. */
  readonly maxMemoryBytes?: number;
  /** Database that the analyst may read; made by whoever makes the views. */
  readonly viewsDatabase?: string;
  readonly analystLimits?: Partial<AnalystLimits>;
  readonly startTimeoutMs?: number;
  readonly stopTimeoutMs?: number;
  readonly env?: NodeJS.ProcessEnv;
}

export const embeddedServerDefaults = {
  maxMemoryBytes: 2 ** 31,
  viewsDatabase: "sae",
  startTimeoutMs: 60_000,
  stopTimeoutMs: 10_000,
} as const;

type CompleteOptions = Required<Pick<EmbeddedServerOptions, keyof typeof embeddedServerDefaults>>;

const PORT_ATTEMPTS = 3;

/**
 * Starts ClickHouse as a child process over a data folder and returns when it answers. A leftover of a parent that was
 * killed is ended first. The child ends with this process, however that ends.
 * Throws DataFolderInUse when another process holds the folder.
 */
export async function startEmbeddedServer(options: EmbeddedServerOptions): Promise<ClickHouseServer> {
  const folder = resolve(options.folder);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const pidFile = join(folder, "server.pid");
  const complete = { ...embeddedServerDefaults, ...options, folder };
  await endLeftover(pidFile, folder, complete.stopTimeoutMs);
  for (let attempt = 1; ; attempt++) {
    try {
      return await startOnce(complete, pidFile);
    } catch (error) {
      // The port was free a moment ago; somebody else may have been quicker.
      if (attempt === PORT_ATTEMPTS || !String(error).includes("Address already in use")) throw error;
    }
  }
}

async function startOnce(options: EmbeddedServerOptions & CompleteOptions, pidFile: string): Promise<ClickHouseServer> {
  const { folder, env = process.env, startTimeoutMs, stopTimeoutMs } = options;
  const engine = await findEngine(env);
  const port = await freePort();
  const login = (username: string): Login => ({ username, password: randomBytes(24).toString("base64url") });
  const owner = login("owner");
  const analyst = login("analyst");
  const config = writeServerFiles({
    folder,
    engine: engine.kind,
    port,
    threads: options.threads ?? availableParallelism(),
    maxMemoryBytes: options.maxMemoryBytes,
    owner,
    analyst,
    analystLimits: { ...analystDefaults, ...options.analystLimits },
    viewsDatabase: options.viewsDatabase,
  });
  const logPath = join(folder, "server.log");
  const log = openSync(logPath, "w", 0o600);
  const told: ServerProcessOptions = { engine, config, pidFile, ownerPid: process.pid, pipeFd: 3 };
  // A process group of its own: Ctrl-C reaches the service, which ends its server when it is done with it.
  const child = spawn(process.execPath, [fileURLToPath(new URL("./server-process.ts", import.meta.url)), JSON.stringify(told)], {
    stdio: ["ignore", log, log, "pipe"],
    env: { ...env, NODE_OPTIONS: "" },
    detached: true,
  });
  closeSync(log);
  const ended = new Promise<void>((done) => {
    child.once("exit", () => done());
    child.once("error", () => done());
  });
  let stopping = false;
  const stop = async (): Promise<void> => {
    stopping = true;
    await endChild(child, ended, stopTimeoutMs);
    removePidFile(pidFile);
  };
  const url = `http://127.0.0.1:${port}`;
  try {
    await Promise.race([whenReady(url, owner, startTimeoutMs, logPath), ended.then(() => Promise.reject(startError(folder, logPath)))]);
  } catch (error) {
    await stop();
    throw error;
  }
  child.unref();
  const died = new Promise<Error>((tell) => {
    void ended.then(() => {
      if (!stopping) tell(new Error(`ClickHouse ended by itself (exit ${child.exitCode ?? child.signalCode}): ${tail(logPath)}`));
    });
  });
  return { url, owner, analyst, pid: child.pid, died, stop };
}

async function endChild(child: ChildProcess, ended: Promise<void>, patienceMs: number): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
  child.kill("SIGTERM");
  const timer = setTimeout(() => child.kill("SIGKILL"), patienceMs);
  await ended;
  clearTimeout(timer);
}

/** Only the server that was given this password says yes, so a stranger on the port is not mistaken for it. */
async function whenReady(url: string, { username, password }: Login, timeoutMs: number, logPath: string): Promise<void> {
  const headers = { "X-ClickHouse-User": username, "X-ClickHouse-Key": password };
  const until = Date.now() + timeoutMs;
  for (;;) {
    const reply = await fetch(`${url}/?query=SELECT+1`, { headers, signal: AbortSignal.timeout(2_000) }).catch(() => undefined);
    if (reply?.ok === true) return;
    await reply?.body?.cancel();
    if (Date.now() > until) throw new Error(`ClickHouse did not answer within ${timeoutMs} ms: ${tail(logPath)}`);
    await sleep(25);
  }
}

function startError(folder: string, logPath: string): Error {
  const said = tail(logPath);
  if (said.includes("Cannot lock file")) return new DataFolderInUse(folder, "another ClickHouse server");
  return new Error(`ClickHouse did not start over ${folder}: ${said === "" ? "it said nothing" : said}`);
}

/** The last words of the server's log. */
function tail(logPath: string): string {
  try {
    return readFileSync(logPath, "utf8").trim().slice(-2_000);
  } catch {
    return "";
  }
}

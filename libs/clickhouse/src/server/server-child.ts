import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { Engine } from "./engine.ts";
import { DataFolderInUse } from "./leftover.ts";
import type { Login } from "./server-files.ts";
import type { ServerProcessOptions } from "./server-process.ts";

/** How a server process is started. */
export interface ServerChildOptions {
  readonly engine: Engine;
  readonly folder: string;
  /** Path of config.xml. */
  readonly config: string;
  readonly pidFile: string;
  readonly url: string;
  readonly owner: Login;
  readonly startTimeoutMs: number;
  readonly env: NodeJS.ProcessEnv;
}

/** A ClickHouse process that answers. */
export class ServerChild {
  readonly #process: ChildProcess;
  readonly #logPath: string;
  /** Resolves when it has ended, however. */
  readonly ended: Promise<void>;

  private constructor(process: ChildProcess, ended: Promise<void>, logPath: string) {
    this.#process = process;
    this.#logPath = logPath;
    this.ended = ended;
  }

  /** Starts a process and returns when it answers. @throws DataFolderInUse, and what the server said when it did not start. */
  static async start({ engine, folder, config, pidFile, url, owner, startTimeoutMs, env }: ServerChildOptions): Promise<ServerChild> {
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
    const started = new ServerChild(child, ended, logPath);
    try {
      await Promise.race([whenReady(url, owner, startTimeoutMs, logPath), ended.then(() => Promise.reject(startError(folder, logPath)))]);
    } catch (error) {
      await started.stop(startTimeoutMs);
      throw error;
    }
    child.unref();
    return started;
  }

  get pid(): number | undefined {
    return this.#process.pid;
  }

  /** Why it ended: its exit and its last words. */
  get lastWords(): string {
    return `exit ${this.#process.exitCode ?? this.#process.signalCode}: ${tail(this.#logPath)}`;
  }

  /** SIGTERM, and SIGKILL after `patienceMs`. */
  async stop(patienceMs: number): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null || this.#process.pid === undefined) return;
    this.#process.kill("SIGTERM");
    const timer = setTimeout(() => this.#process.kill("SIGKILL"), patienceMs);
    await this.ended;
    clearTimeout(timer);
  }
}

/** Only the server that was given this password says yes, so a stranger on the port is not mistaken for it. */
async function whenReady(url: string, { username, password }: Login, timeoutMs: number, logPath: string): Promise<void> {
  const headers = { "X-ClickHouse-User": username, "X-ClickHouse-Key": password };
  const until = Date.now() + timeoutMs;
  for (;;) {
    const reply = await fetch(`${url}/?query=SELECT+1`, { headers, signal: AbortSignal.timeout(2_000) }).catch(() => undefined);
    await reply?.body?.cancel();
    if (reply?.ok === true) return;
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

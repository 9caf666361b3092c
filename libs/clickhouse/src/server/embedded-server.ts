import { randomBytes } from "node:crypto";
import { mkdirSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join, resolve } from "node:path";
import { findEngine } from "./engine.ts";
import { freePort } from "./free-port.ts";
import { endLeftover, removePidFile } from "./leftover.ts";
import { ServerChild, type ServerChildOptions } from "./server-child.ts";
import { type AnalystLimits, analystDefaults, type Login, writeServerFiles } from "./server-files.ts";

/** A ClickHouse server that takes queries over HTTP. */
export interface ClickHouseServer {
  readonly url: string;
  /** May do everything. */
  readonly owner: Login;
  /** May read the views database, within limits. */
  readonly analyst: Login;
  /** Process of an embedded server; another one after it was started anew. */
  readonly pid: number | undefined;
  /** Resolves with a reason when an embedded server has ended by itself and cannot be started anew. */
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
// A crash now and then is got over; one that comes back at once is a fault that somebody has to see.
const MOST_RESTARTS = 20;
const RESTART_WINDOW_MS = 60_000;
const START_ATTEMPTS = 5;

/**
 * Starts ClickHouse as a child process over a data folder and returns when it answers. A leftover of a parent that was
 * killed is ended first. The child ends with this process, however that ends; should it end before, it is started anew
 * at the same place.
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
  const url = `http://127.0.0.1:${port}`;
  const how: ServerChildOptions = { engine, folder, config, pidFile, url, owner, startTimeoutMs, env };
  return new EmbeddedServer(await ServerChild.start(how), how, analyst, stopTimeoutMs);
}

/** A server process, and its successors. */
class EmbeddedServer implements ClickHouseServer {
  readonly url: string;
  readonly owner: Login;
  readonly analyst: Login;
  readonly died: Promise<Error>;
  readonly #how: ServerChildOptions;
  readonly #stopTimeoutMs: number;
  readonly #restarts: number[] = [];
  #child: ServerChild;
  #restarting: Promise<void> | undefined;
  #stopping = false;

  constructor(child: ServerChild, how: ServerChildOptions, analyst: Login, stopTimeoutMs: number) {
    this.url = how.url;
    this.owner = how.owner;
    this.analyst = analyst;
    this.#how = how;
    this.#stopTimeoutMs = stopTimeoutMs;
    this.#child = child;
    this.died = new Promise((tell) => this.#watch(child, tell));
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    await this.#restarting?.catch(() => undefined);
    await this.#child.stop(this.#stopTimeoutMs);
    removePidFile(this.#how.pidFile);
  }

  #watch(child: ServerChild, tell: (reason: Error) => void): void {
    void child.ended.then(() => {
      if (this.#stopping) return;
      this.#restarting = this.#restart(child, tell);
    });
  }

  async #restart(child: ServerChild, tell: (reason: Error) => void): Promise<void> {
    const { lastWords } = child;
    for (let attempt = 1; !this.#stopping; attempt++) {
      const now = Date.now();
      const recent = this.#restarts.filter((at) => now - at < RESTART_WINDOW_MS);
      if (recent.length >= MOST_RESTARTS) {
        tell(new Error(`ClickHouse ended by itself ${recent.length + 1} times within a minute (${lastWords})`));
        return;
      }
      this.#restarts.push(now);
      try {
        this.#child = await ServerChild.start(this.#how);
        this.#watch(this.#child, tell);
        return;
      } catch (error) {
        // What ended the server may end the next one while it is still starting.
        if (attempt < START_ATTEMPTS) continue;
        tell(new Error(`ClickHouse ended by itself (${lastWords}) and could not be started anew`, { cause: error }));
        return;
      }
    }
  }
}

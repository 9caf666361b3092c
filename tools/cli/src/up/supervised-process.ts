import { spawn, type ChildProcess } from "node:child_process";
import { closeSync, existsSync, openSync, readSync, fstatSync, mkdirSync, createWriteStream } from "node:fs";
import { dirname } from "node:path";
import { createInterface } from "node:readline";

/** A process to keep running. */
export interface ProcessSpec {
  readonly name: string;
  /** Script for this Node. */
  readonly script: string;
  readonly env: Readonly<Record<string, string>>;
  readonly logPath: string;
}

/** An end that nobody asked for. */
export interface ProcessExit {
  readonly name: string;
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** Milliseconds until it is started again. */
  readonly restartInMs: number;
}

/** How patient the supervisor is, in milliseconds. */
export interface SupervisorOptions {
  readonly readyTimeoutMs: number;
  /** First wait before a restart; doubles up to `maxBackoffMs`. */
  readonly backoffMs: number;
  readonly maxBackoffMs: number;
  /** A process that ran this long starts the back-off anew. */
  readonly healthyMs: number;
  /** After SIGTERM, before SIGKILL. */
  readonly stopGraceMs: number;
}

export const supervisorDefaults: SupervisorOptions = {
  readyTimeoutMs: 300_000,
  backoffMs: 250,
  maxBackoffMs: 10_000,
  healthyMs: 30_000,
  stopGraceMs: 15_000,
};

/** A process that did not become ready. */
export class StartError extends Error {
  readonly logTail: string;

  constructor(message: string, logTail: string) {
    super(message);
    this.name = "StartError";
    this.logTail = logTail;
  }
}

/**
 * A child that ends with this process (it watches its standard input) and is started again when it ends by itself.
 * It runs in a process group of its own, so that Ctrl-C in a terminal reaches only the supervisor.
 */
export class SupervisedProcess {
  readonly #spec: ProcessSpec;
  readonly #options: SupervisorOptions;
  readonly #onExit: (exit: ProcessExit) => void;
  #child: ChildProcess | undefined;
  #stopping = false;
  #failures = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(spec: ProcessSpec, onExit: (exit: ProcessExit) => void, options: Partial<SupervisorOptions> = {}) {
    this.#spec = spec;
    this.#onExit = onExit;
    this.#options = { ...supervisorDefaults, ...options };
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** Starts the process; resolves with the address of its ready line, rejects with StartError if it ends before. */
  async start(signal?: AbortSignal): Promise<string> {
    const { name, logPath } = this.#spec;
    const child = this.#spawn();
    const ready = new Promise<string>((resolve, reject) => {
      const timer = setTimeout(() => reject(this.#startError(`${name} was not ready within ${this.#options.readyTimeoutMs / 1000} s`)), this.#options.readyTimeoutMs);
      const abort = (): void => reject(signal?.reason as Error);
      signal?.addEventListener("abort", abort, { once: true });
      if (signal?.aborted === true) abort();
      let settled = false;
      const settle = (): void => {
        settled = true;
        clearTimeout(timer);
        signal?.removeEventListener("abort", abort);
      };
      this.#readLines(child, (address) => {
        settle();
        resolve(address);
      });
      child.once("error", (error) => {
        settle();
        reject(new StartError(`${name} does not start: ${error.message}`, ""));
      });
      child.once("close", (code, by) => {
        if (settled) return;
        settle();
        reject(this.#startError(`${name} ended before it was ready (${endOf(code, by)}); its log is ${logPath}`));
      });
    });
    try {
      const address = await ready;
      this.#watch(child);
      return address;
    } catch (error) {
      await this.#kill(child);
      throw error;
    }
  }

  /** Asks the process to end, then makes it; it is not started again. */
  async stop(): Promise<void> {
    this.#stopping = true;
    clearTimeout(this.#timer);
    if (this.#child !== undefined) await this.#kill(this.#child);
  }

  #spawn(): ChildProcess {
    mkdirSync(dirname(this.#spec.logPath), { recursive: true });
    const log = openSync(this.#spec.logPath, "a");
    try {
      const child = spawn(process.execPath, [this.#spec.script], {
        stdio: ["pipe", "pipe", log],
        env: { ...process.env, ...this.#spec.env, MISTRAL_SAE_PARENT_PIPE: "1" },
        detached: true,
      });
      // The pipe only tells the child that its parent is gone; that the child is gone is told by "close".
      child.stdin?.on("error", () => undefined);
      this.#child = child;
      return child;
    } finally {
      closeSync(log);
    }
  }

  #readLines(child: ChildProcess, onReady: (address: string) => void): void {
    if (child.stdout === null) return;
    const log = createWriteStream(this.#spec.logPath, { flags: "a" });
    log.on("error", () => undefined);
    const lines = createInterface({ input: child.stdout });
    lines.on("line", (line) => {
      log.write(`${line}\n`);
      const address = readyAddress(line);
      if (address !== undefined) onReady(address);
    });
    lines.on("close", () => log.end());
  }

  #watch(child: ChildProcess): void {
    const startedAt = performance.now();
    const ended = (code: number | null, by: NodeJS.Signals | null): void => {
      if (this.#stopping || this.#child !== child) return;
      if (performance.now() - startedAt > this.#options.healthyMs) this.#failures = 0;
      this.#restart(code, by);
    };
    if (child.exitCode !== null || child.signalCode !== null) ended(child.exitCode, child.signalCode);
    else child.once("exit", ended);
  }

  #restart(code: number | null, by: NodeJS.Signals | null): void {
    const restartInMs = Math.min(this.#options.maxBackoffMs, this.#options.backoffMs * 2 ** this.#failures);
    this.#failures++;
    this.#onExit({ name: this.#spec.name, code, signal: by, restartInMs });
    this.#timer = setTimeout(() => {
      this.start().catch(() => {
        const child = this.#child;
        if (!this.#stopping) this.#restart(child?.exitCode ?? null, child?.signalCode ?? null);
      });
    }, restartInMs);
  }

  async #kill(child: ChildProcess): Promise<void> {
    if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const closed = new Promise<void>((resolve) => child.once("exit", () => resolve()));
    child.kill("SIGTERM");
    const timer = setTimeout(() => child.kill("SIGKILL"), this.#options.stopGraceMs);
    await closed;
    clearTimeout(timer);
  }

  #startError(message: string): StartError {
    return new StartError(message, tailOf(this.#spec.logPath));
  }
}

/** How a process ended, in words. */
export function endOf(code: number | null, signal: NodeJS.Signals | null): string {
  return signal === null ? `exit code ${code ?? "unknown"}` : signal;
}

function readyAddress(line: string): string | undefined {
  if (!line.startsWith('{"ready"')) return undefined;
  try {
    const { address } = JSON.parse(line) as { readonly address?: unknown };
    return typeof address === "string" ? address : undefined;
  } catch {
    return undefined;
  }
}

function tailOf(path: string, bytes = 2000): string {
  if (!existsSync(path)) return "";
  const file = openSync(path, "r");
  try {
    const { size } = fstatSync(file);
    const buffer = Buffer.alloc(Math.min(bytes, size));
    readSync(file, buffer, 0, buffer.length, size - buffer.length);
    return buffer.toString("utf8").trim();
  } finally {
    closeSync(file);
  }
}

import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { root } from "./root.ts";

/** What the main job is run on. */
export interface DemoJobOptions {
  readonly data: string;
  readonly corpus: string;
  readonly dSae: number;
  readonly trainingTokens: number;
  /** Leave the system running after the report. */
  readonly stay?: boolean;
}

/** The parts of report.json that an undisturbed and a disturbed job are compared by. */
export interface JobReport {
  readonly weights_sha256: string;
  readonly table_checksums: Readonly<Record<string, string>>;
  readonly tokens_indexed: number;
  readonly activations_indexed: number;
  readonly features_explained: number;
  readonly seconds: Readonly<Record<string, number>>;
  readonly [field: string]: unknown;
}

/** A report without what differs between any two runs: times, and where the SAE lies. */
export function outcomeOf({ seconds: _seconds, train_tokens_per_second: _rate, sae_uri: _uri, ...outcome }: JobReport): object {
  return outcome;
}

/** run.json of a running system, as far as it is read here. */
export interface RunningDemo {
  readonly gateway: string;
  readonly pids: Readonly<Record<string, number>>;
}

/** The main job as a user starts it: `mistral-sae demo`, on a small setting, with 2 threads. */
export class DemoJob {
  readonly #child: ChildProcess;
  readonly #options: DemoJobOptions;
  readonly #ended: Promise<number | null>;
  #log = "";

  constructor(options: DemoJobOptions) {
    const { data, corpus, dSae, trainingTokens, stay = false } = options;
    this.#options = options;
    // Batches so small that the training service writes checkpoints (every 500 steps) on the way.
    const training = { "d-sae": dSae, k: 8, "training-tokens": trainingTokens, "train-batch-size-tokens": 128, "dead-feature-window-tokens": 20_000 };
    const settings = { corpus, data, ...training, threads: 2, "steering-features": 1 };
    const args = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, String(value)]);
    this.#child = spawn(process.execPath, [join(root, "tools/cli/src/main.ts"), "demo", ...(stay ? [] : ["--once"]), ...args], { stdio: ["ignore", "pipe", "pipe"] });
    for (const stream of [this.#child.stdout, this.#child.stderr]) stream?.setEncoding("utf8").on("data", (text: string) => (this.#log += text));
    this.#ended = new Promise((resolve, reject) => this.#child.once("error", reject).once("close", resolve));
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  get running(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** Where the system of this job answers; undefined until it does. */
  system(): RunningDemo | undefined {
    try {
      const run = JSON.parse(readFileSync(join(this.#options.data, "run.json"), "utf8")) as { pid: number; addresses: { gateway: string }; pids: Record<string, number> };
      return run.pid === this.pid ? { gateway: run.addresses.gateway, pids: run.pids } : undefined;
    } catch {
      return undefined;
    }
  }

  /** Waits until a job that stays has reported and left its system running; returns where it answers. */
  async whenRunning(): Promise<RunningDemo> {
    while (!this.#log.includes("The system is running")) {
      if (!this.running) throw new Error(`demo ended: ${this.#log}`);
      await sleep(20);
    }
    const system = this.system();
    if (system === undefined) throw new Error("run.json does not name the running system");
    return system;
  }

  /** Ends the command as Ctrl-C does; resolves with its exit code. */
  async interrupt(): Promise<number | null> {
    this.#child.kill("SIGINT");
    return await this.#ended;
  }

  /** Kills the command itself with SIGKILL. */
  async kill(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#ended;
  }

  /** Whether it has ended by a signal. */
  get killed(): boolean {
    return this.#child.signalCode !== null;
  }

  /** The report of a job that succeeded. @throws Error with what the command and its services said otherwise. */
  async report(): Promise<JobReport> {
    const code = await this.#ended;
    if (code !== 0) throw new Error(`demo ended with ${code}: ${this.#log}`);
    return JSON.parse(readFileSync(join(this.#options.data, "report.json"), "utf8")) as JobReport;
  }
}

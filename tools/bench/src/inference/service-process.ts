import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { InferenceService } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import { type Client, createClient } from "@mistral-sae/rpc";
import type { ProcessState } from "./probe.ts";

const probe = new URL("./probe.ts", import.meta.url).href;

/** A service in a process of its own, as an operator starts it, with a data folder that goes when it ends. */
export class ServiceProcess implements AsyncDisposable {
  /** host:port. */
  readonly address: string;
  readonly #child: ChildProcess;
  readonly #data: string;

  private constructor(address: string, child: ChildProcess, data: string) {
    this.address = address;
    this.#child = child;
    this.#data = data;
  }

  /** Resolves when it serves. @throws Error when it ends before, with what it said. */
  static async start(service: "feature-index" | "inference" | "training", env: Readonly<Record<string, string>>): Promise<ServiceProcess> {
    const data = await mkdtemp(join(tmpdir(), "bench-service-"));
    const main = fileURLToPath(new URL(`../../../../services/${service}/src/main.ts`, import.meta.url));
    const child = spawn(process.execPath, ["--import", probe, main], {
      env: { ...process.env, MISTRAL_SAE_LISTEN: "127.0.0.1:0", MISTRAL_SAE_DATA: data, MISTRAL_SAE_PARENT_PIPE: "1", ...env },
      stdio: ["pipe", "pipe", "pipe", "ipc"],
    });
    let log = "";
    child.stderr?.setEncoding("utf8").on("data", (text: string) => (log = (log + text).slice(-2000)));
    for await (const line of createInterface({ input: child.stdout! })) {
      if (!line.startsWith('{"ready"')) continue;
      child.stdout?.resume();
      const { address } = JSON.parse(line) as { readonly address: string };
      return new ServiceProcess(address, child, data);
    }
    await rm(data, { recursive: true, force: true });
    throw new Error(`the ${service} service ended before it was ready: ${log}`);
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** How the process stands; `begin` makes it forget the lag seen so far. */
  async state(begin = false): Promise<ProcessState> {
    const answer = once(this.#child, "message");
    this.#child.send({ begin });
    const [state] = (await answer) as [ProcessState];
    return state;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      const ended = once(this.#child, "exit");
      this.#child.stdin?.end();
      await ended;
    }
    await rm(this.#data, { recursive: true, force: true });
  }
}

/** The inference service with one model. */
export class InferenceProcess implements AsyncDisposable {
  readonly client: Client<typeof InferenceService>;
  readonly #process: ServiceProcess;

  private constructor(process: ServiceProcess) {
    this.#process = process;
    this.client = createClient(InferenceService, process.address);
  }

  static async start(modelDir: string, threads: number, env: Readonly<Record<string, string>> = {}): Promise<InferenceProcess> {
    return new InferenceProcess(await ServiceProcess.start("inference", { MISTRAL_SAE_MODELS: `bench=${modelDir}`, MISTRAL_SAE_THREADS: String(threads), ...env }));
  }

  /** host:port. */
  get address(): string {
    return this.#process.address;
  }

  /** How the process stands; `begin` makes it forget the lag seen so far. */
  async state(begin = false): Promise<ProcessState> {
    return await this.#process.state(begin);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#process[Symbol.asyncDispose]();
  }
}

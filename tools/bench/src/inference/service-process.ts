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

const main = fileURLToPath(new URL("../../../../services/inference/src/main.ts", import.meta.url));
const probe = new URL("./probe.ts", import.meta.url).href;

/** The inference service in a process of its own, as an operator starts it, with one model. */
export class InferenceProcess implements AsyncDisposable {
  readonly client: Client<typeof InferenceService>;
  readonly #child: ChildProcess;
  readonly #data: string;

  private constructor(client: Client<typeof InferenceService>, child: ChildProcess, data: string) {
    this.client = client;
    this.#child = child;
    this.#data = data;
  }

  /** Resolves when it serves. @throws Error when it ends before, with what it said. */
  static async start(modelDir: string, threads: number, env: Readonly<Record<string, string>> = {}): Promise<InferenceProcess> {
    const data = await mkdtemp(join(tmpdir(), "bench-service-"));
    const child = spawn(process.execPath, ["--import", probe, main], {
      env: { ...process.env, MISTRAL_SAE_LISTEN: "127.0.0.1:0", MISTRAL_SAE_DATA: data, MISTRAL_SAE_PARENT_PIPE: "1", MISTRAL_SAE_MODELS: `bench=${modelDir}`, MISTRAL_SAE_THREADS: String(threads), ...env },
      stdio: ["pipe", "pipe", "pipe", "ipc"],
    });
    let log = "";
    child.stderr?.setEncoding("utf8").on("data", (text: string) => (log = (log + text).slice(-2000)));
    for await (const line of createInterface({ input: child.stdout! })) {
      if (!line.startsWith('{"ready"')) continue;
      child.stdout?.resume();
      const { address } = JSON.parse(line) as { readonly address: string };
      return new InferenceProcess(createClient(InferenceService, address), child, data);
    }
    await rm(data, { recursive: true, force: true });
    throw new Error(`the inference service ended before it was ready: ${log}`);
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

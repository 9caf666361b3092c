import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { root } from "./root.ts";

/** A service that runs as a child, as an operator would start it. */
export class ServiceProcess {
  readonly name: string;
  /** host:port of its gRPC. */
  readonly address: string;
  readonly #child: ChildProcess;

  private constructor(name: string, address: string, child: ChildProcess) {
    this.name = name;
    this.address = address;
    this.#child = child;
  }

  /**
   * Starts services/{name} with this data folder and more environment; resolves when it serves.
   * @throws Error when it ends before, with what it said.
   */
  static async start(name: string, data: string, env: Readonly<Record<string, string>> = {}): Promise<ServiceProcess> {
    const child = spawn(process.execPath, [join(root, "services", name, "src", "main.ts")], {
      env: { ...process.env, MISTRAL_SAE_LISTEN: "127.0.0.1:0", MISTRAL_SAE_DATA: data, MISTRAL_SAE_PARENT_PIPE: "1", ...env },
      stdio: ["pipe", "pipe", "pipe"],
    });
    let log = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => (log += text));
    for await (const line of createInterface({ input: child.stdout })) {
      if (!line.startsWith('{"ready"')) continue;
      child.stdout.resume();
      return new ServiceProcess(name, (JSON.parse(line) as { readonly address: string }).address, child);
    }
    throw new Error(`${name} ended before it was ready: ${log}`);
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** Whether the process it was started as still runs. */
  get alive(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** Lets go of it, as its parent's end would, and waits for its end. */
  async stop(): Promise<void> {
    if (!this.alive) return;
    const ended = once(this.#child, "exit");
    this.#child.stdin?.end();
    await ended;
  }
}

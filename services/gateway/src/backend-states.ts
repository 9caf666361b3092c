import { setTimeout as sleep } from "node:timers/promises";
import { Health, HealthCheckResponse_ServingStatus as Status } from "@mistral-sae/contracts/grpc/health/v1/health";
import { createClient } from "@mistral-sae/rpc";
import { backendNames } from "./backends.ts";
import type { BackendName } from "./config.ts";

/** Whether a backend takes calls. */
export type BackendState = "serving" | "not_serving" | "unreachable";

/** What is known of a backend. */
export interface BackendReport {
  readonly address: string;
  readonly state: BackendState;
  /** Why it cannot be reached. */
  readonly detail?: string;
}

/** How the backends are watched, in milliseconds. */
export interface WatchOptions {
  readonly everyMs: number;
  readonly timeoutMs: number;
}

const watchDefaults: WatchOptions = { everyMs: 1000, timeoutMs: 1000 };

/** The state of every backend, asked again and again by grpc.health.v1. */
export class BackendStates {
  readonly #addresses: Readonly<Record<BackendName, string>>;
  readonly #options: WatchOptions;
  readonly #reports = new Map<BackendName, BackendReport>();
  readonly #stop = new AbortController();

  constructor(addresses: Readonly<Record<BackendName, string>>, options: Partial<WatchOptions> = {}) {
    this.#addresses = addresses;
    this.#options = { ...watchDefaults, ...options };
  }

  /** The latest reports, by backend. */
  get reports(): Readonly<Record<string, BackendReport>> {
    return Object.fromEntries(backendNames.flatMap((name) => {
      const report = this.#reports.get(name);
      return report === undefined ? [] : [[name, report]];
    }));
  }

  /** Asks every backend once, then goes on asking in the background; `onChange` is told of every change. */
  async start(onChange: (backend: BackendName, serving: boolean) => void): Promise<void> {
    await Promise.all(
      backendNames.map(async (name) => {
        const client = createClient(Health, this.#addresses[name]);
        const ask = async (): Promise<void> => {
          const report = await this.#ask(name, client);
          const before = this.#reports.get(name)?.state;
          this.#reports.set(name, report);
          if (report.state !== before) onChange(name, report.state === "serving");
        };
        await ask();
        this.#repeat(ask);
      }),
    );
  }

  /** Stops asking. */
  stop(): void {
    this.#stop.abort();
  }

  async #ask(name: BackendName, client: ReturnType<typeof createClient<typeof Health>>): Promise<BackendReport> {
    const address = this.#addresses[name];
    try {
      const { status } = await client.check({ service: "" }, { timeoutMs: this.#options.timeoutMs, signal: this.#stop.signal });
      return { address, state: status === Status.SERVING ? "serving" : "not_serving" };
    } catch (error) {
      return { address, state: "unreachable", detail: error instanceof Error ? error.message : String(error) };
    }
  }

  #repeat(ask: () => Promise<void>): void {
    const { signal } = this.#stop;
    const loop = async (): Promise<void> => {
      while (!signal.aborted) {
        await sleep(this.#options.everyMs, undefined, { signal, ref: false });
        await ask();
      }
    };
    // The only way out of the loop is stop().
    loop().catch(() => undefined);
  }
}

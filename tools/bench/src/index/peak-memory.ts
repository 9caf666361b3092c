import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { ServiceProcess } from "../inference/service-process.ts";
import type { Reading } from "./report.ts";

const EVERY_MS = 100;
const TICKS = 100;

/** Memory of a feature-index service and of the ClickHouse that it started, looked at ten times a second (Linux). */
export class PeakMemory implements AsyncDisposable {
  readonly #pids: { readonly service: number; readonly clickhouse: number };
  readonly #timer: NodeJS.Timeout;
  #peak = { service: 0, clickhouse: 0, together: 0 };

  private constructor(pids: { readonly service: number; readonly clickhouse: number }) {
    this.#pids = pids;
    this.#timer = setInterval(() => this.#look(), EVERY_MS);
  }

  static async start(service: ServiceProcess, data: string): Promise<PeakMemory> {
    const { server } = JSON.parse(await readFile(join(data, "clickhouse/server.pid"), "utf8")) as { readonly server: readonly { readonly pid: number }[] };
    return new PeakMemory({ service: service.pid, clickhouse: server.at(-1)?.pid ?? 0 });
  }

  readings(when: string): Reading[] {
    const { service, clickhouse, together } = this.#peak;
    return [
      { name: `memory of the service ${when}`, value: service / 2 ** 20, unit: "MiB" },
      { name: `memory of ClickHouse ${when}`, value: clickhouse / 2 ** 20, unit: "MiB" },
      { name: `memory of both together ${when}`, value: together / 2 ** 20, unit: "MiB", atMost: 2_048 },
    ];
  }

  /** CPU that each has taken. */
  async cpuSeconds(): Promise<{ readonly service: number; readonly clickhouse: number }> {
    const of = async (pid: number) => {
      const fields = (await readFile(`/proc/${pid}/stat`, "utf8")).split(") ")[1]?.split(" ") ?? [];
      return (Number(fields[11]) + Number(fields[12])) / TICKS;
    };
    return { service: await of(this.#pids.service), clickhouse: await of(this.#pids.clickhouse) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    await Promise.resolve();
  }

  #look(): void {
    const [service, clickhouse] = [this.#pids.service, this.#pids.clickhouse].map(rss) as [number, number];
    const { service: s, clickhouse: c, together } = this.#peak;
    this.#peak = { service: Math.max(s, service), clickhouse: Math.max(c, clickhouse), together: Math.max(together, service + clickhouse) };
  }
}

/** Resident bytes of a process; 0 when it is gone. */
function rss(pid: number): number {
  try {
    return 1024 * Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0);
  } catch {
    return 0;
  }
}

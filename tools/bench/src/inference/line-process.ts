import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import type { Contender, Turn, Work } from "./work.ts";

interface Answer {
  readonly wall_ms: number;
  readonly cpu_ms: number;
  readonly peak_rss?: number;
  readonly error?: string;
}

/** A contender in a process of its own that answers each line of work with a line of figures. */
export interface LineProcess extends Contender, AsyncDisposable {
  readonly pid: number;
}

/** Starts a process that says {"version"} when it is ready. Throws when it ends before, with what it wrote to stderr. */
export async function startLineProcess(name: string, command: string, args: readonly string[]): Promise<LineProcess> {
  const child = spawn(command, args, { stdio: ["pipe", "pipe", "pipe"] });
  let complaints = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => (complaints = (complaints + text).slice(-2000)));
  child.stdin.on("error", () => undefined);
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const failed = once(child, "error").then(([error]) => Promise.reject(error as Error));
  failed.catch(() => undefined);
  const read = async <T>(): Promise<T> => {
    const { done, value } = await Promise.race([lines.next(), failed]);
    if (done === true) throw new Error(`${name} ended (${command}):\n${complaints}`);
    return JSON.parse(value) as T;
  };
  const close = async (): Promise<void> => {
    child.stdin.end();
    if (child.exitCode === null && child.signalCode === null && child.pid !== undefined) await once(child, "close");
  };
  try {
    const { version } = await read<{ version: string }>();
    return {
      name,
      version,
      pid: child.pid ?? 0,
      async run(work: Work): Promise<Turn> {
        child.stdin.write(`${JSON.stringify(work)}\n`);
        const { wall_ms, cpu_ms, peak_rss, error } = await read<Answer>();
        if (error !== undefined) throw new Error(`${name}: ${error}`);
        return { wallMs: wall_ms, cpuMs: cpu_ms, ...(peak_rss === undefined ? {} : { peakRss: peak_rss }) };
      },
      [Symbol.asyncDispose]: close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

import { execFile } from "node:child_process";
import { promisify } from "node:util";
import type { Contender, Work } from "./work.ts";

const run = promisify(execFile);

interface Result {
  readonly build_commit: string;
  readonly samples_ns: readonly number[];
}

/** llama.cpp's own llama-bench on a GGUF file: one process a turn, which warms up before it measures. */
export async function llamaBench(binary: string, model: string, threads: number): Promise<Contender> {
  const bench = async (...args: readonly string[]): Promise<Result> => {
    const all = ["-m", model, "-t", String(threads), "-ngl", "0", "-o", "json", ...args];
    const { stdout } = await run(binary, all, { maxBuffer: 1 << 24 }).catch((error: NodeJS.ErrnoException & { signal?: string }) => {
      throw new Error(`llama-bench failed (${error.signal ?? error.code ?? ""}): ${error.message.slice(-500)}`, { cause: error });
    });
    const [result] = JSON.parse(stdout) as Result[];
    if (result === undefined) throw new Error("llama-bench gave no result");
    return result;
  };
  const { build_commit: commit } = await bench("-p", "1", "-n", "0", "-r", "1", "--no-warmup");
  return {
    name: "llama.cpp",
    version: commit,
    async run(work) {
      const { samples_ns: samples } = await bench(...argsOf(work));
      return { wallMs: samples.reduce((sum, ns) => sum + ns, 0) / 1e6, cpuMs: undefined };
    },
  };
}

function argsOf(work: Work): string[] {
  if (work.batch === 1 && work.work === "decode") return ["-p", "0", "-n", String(work.steps), "-d", String(work.past), "-r", "1"];
  if (work.batch === 1 && work.work === "prefill") return ["-p", String(work.tokens), "-n", "0", "-r", String(work.times)];
  throw new Error(`llama-bench does not measure ${work.work} of batch ${work.batch}`);
}

import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { CaseReport } from "./fuzz-tokenizer-cases.ts";

/** Without news for this long a child is taken to hang. */
const SILENCE_MS = 30_000;
/** A case may take this long. */
const SLOWEST_MS = 1000;
const BATCH = 1000;

export interface FuzzSummary {
  readonly cases: number;
  readonly used: number;
  readonly refused: number;
  /** Errors that are no refusal, ends of the process and cases that took too long. */
  readonly faults: readonly string[];
  readonly slowestMs: number;
}

/**
 * Loads and uses damaged tokenizers of every format, made from a seed, in child processes, so that a crash or a hang is
 * seen as such.
 */
export async function fuzzTokenizers({ cases, seed }: { readonly cases: number; readonly seed: number }): Promise<FuzzSummary> {
  const counts = { used: 0, refused: 0 };
  const faults: string[] = [];
  let slowestMs = 0;
  for (let next = 0; next < cases; ) {
    const end = Math.min(cases, next + BATCH);
    const { done, ended } = await runBatch(next, end, seed, (report) => {
      slowestMs = Math.max(slowestMs, report.ms);
      if (report.outcome === "fault") faults.push(`case ${report.case} (${report.file}): ${report.error}`);
      else counts[report.outcome]++;
      if (report.ms > SLOWEST_MS) faults.push(`case ${report.case} (${report.file}): took ${report.ms} ms`);
    });
    if (done < end) faults.push(`case ${done}: the process ${ended}`);
    next = Math.max(done + (done < end ? 1 : 0), next + 1);
  }
  return { cases, ...counts, faults, slowestMs };
}

async function runBatch(from: number, to: number, seed: number, see: (report: CaseReport) => void): Promise<{ done: number; ended: string }> {
  const child = spawn(process.execPath, [fileURLToPath(new URL("fuzz-tokenizer-cases.ts", import.meta.url)), String(from), String(to), String(seed)], { stdio: ["ignore", "pipe", "pipe"] });
  let done = from;
  let said = "";
  let hung = false;
  const watch = setInterval(() => {
    hung = true;
    child.kill("SIGKILL");
  }, SILENCE_MS);
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    said = (said + text).slice(-2000);
  });
  const closed = new Promise<string>((resolve) => {
    child.on("close", (code, signal) => resolve(hung ? "hung" : `ended with ${signal ?? code}: ${said}`));
  });
  for await (const line of createInterface({ input: child.stdout })) {
    watch.refresh();
    see(JSON.parse(line) as CaseReport);
    done++;
  }
  const ended = await closed;
  clearInterval(watch);
  return { done, ended };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [cases = 10_000, seed = 1] = process.argv.slice(2).map(Number);
  const summary = await fuzzTokenizers({ cases, seed });
  process.stdout.write(`${JSON.stringify(summary, undefined, 2)}\n`);
  process.exitCode = summary.faults.length === 0 ? 0 : 1;
}

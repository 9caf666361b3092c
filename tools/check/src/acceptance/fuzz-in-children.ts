import { spawn } from "node:child_process";
import { createInterface } from "node:readline";

/** Without news for this long a child is taken to hang. */
const SILENCE_MS = 30_000;
/** A case may take this long. */
const SLOWEST_MS = 1000;
const BATCH = 1000;
/** More are not looked for. */
const MOST_FAULTS = 50;

/** What became of one damaged input; a line of the child's output. */
export interface CaseReport {
  readonly case: number;
  /** What was damaged. */
  readonly input: string;
  readonly ms: number;
  readonly outcome: "used" | "refused" | "fault";
  /** The error, for refusals and faults. */
  readonly error?: string;
}

export interface FuzzSummary {
  readonly cases: number;
  readonly used: number;
  readonly refused: number;
  /** Errors that are no refusal, ends of the process and cases that took too long. */
  readonly faults: readonly string[];
  readonly slowestMs: number;
}

/**
 * Runs cases in child processes, so that a crash or a hang is seen as such. `script` is started with `args`, the number of
 * its first case, the number after its last and the seed, and writes a {@link CaseReport} a line.
 */
export async function fuzzInChildren(script: string, args: readonly string[], { cases, seed }: { readonly cases: number; readonly seed: number }): Promise<FuzzSummary> {
  const counts = { used: 0, refused: 0 };
  const faults: string[] = [];
  let slowestMs = 0;
  for (let next = 0; next < cases && faults.length < MOST_FAULTS; ) {
    const end = Math.min(cases, next + BATCH);
    const { done, ended } = await runBatch([script, ...args, String(next), String(end), String(seed)], (report) => {
      slowestMs = Math.max(slowestMs, report.ms);
      if (report.outcome === "fault") faults.push(`case ${report.case} (${report.input}): ${report.error}`);
      else counts[report.outcome]++;
      if (report.ms > SLOWEST_MS) faults.push(`case ${report.case} (${report.input}): took ${report.ms} ms`);
    });
    if (next + done < end) faults.push(`case ${next + done}: the process ${ended}`);
    next += Math.min(done + 1, end - next);
  }
  return { cases, ...counts, faults, slowestMs };
}

async function runBatch(args: readonly string[], see: (report: CaseReport) => void): Promise<{ done: number; ended: string }> {
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "pipe"] });
  let done = 0;
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

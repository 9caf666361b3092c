import { readdirSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

/** A process, told apart from a later one of the same number by when it started. */
export interface ProcessMark {
  readonly pid: number;
  /** Clock ticks after boot. */
  readonly started: string;
  readonly command: string;
}

interface ProcessEntry extends ProcessMark {
  readonly parent: number;
  readonly zombie: boolean;
}

/** The processes below one, it included, as they are now. Reads /proc: Linux alone. */
export function processTree(pid: number): readonly ProcessMark[] {
  const all = readdirSync("/proc").flatMap((name) => (/^\d+$/.test(name) ? (entryOf(Number(name)) ?? []) : []));
  const tree = all.filter((entry) => entry.pid === pid);
  for (const { pid: parent } of tree) tree.push(...all.filter((entry) => entry.parent === parent));
  return tree;
}

/** Waits until none of the processes runs any more. @throws Error naming those that still do after `patienceMs`. */
export async function whenEnded(processes: readonly ProcessMark[], patienceMs: number): Promise<void> {
  const until = Date.now() + patienceMs;
  for (;;) {
    const left = processes.filter(isRunning);
    if (left.length === 0) return;
    if (Date.now() > until) throw new Error(`still running after ${patienceMs} ms: ${left.map(({ pid, command }) => `${pid} ${command}`).join("; ")}`);
    await sleep(20);
  }
}

function isRunning({ pid, started }: ProcessMark): boolean {
  const now = entryOf(pid);
  return now !== undefined && now.started === started && !now.zombie;
}

function entryOf(pid: number): ProcessEntry | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The name in brackets may hold spaces and brackets itself.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    const command = readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ").trim();
    return { pid, parent: Number(fields[1]), started: fields[19] ?? "", zombie: fields[0] === "Z", command };
  } catch {
    return undefined;
  }
}

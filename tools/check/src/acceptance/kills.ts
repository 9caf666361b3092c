import { setTimeout as sleep } from "node:timers/promises";
import type { DemoJob } from "./demo-job.ts";
import { type Stage, STAGES, whenIn } from "./job-stages.ts";
import { processTree, whenEnded } from "./process-tree.ts";

/** A kill that was done. */
export interface Kill {
  /** The stage that the job was in. */
  readonly stage: Stage;
  readonly victim: string;
  /** Milliseconds after the stage was seen. */
  readonly afterMs: number;
}

/** Moments spread evenly over the most of each stage, by the seconds that an undisturbed job took for it. */
export function randomMoments(seconds: Readonly<Record<string, number>>): Moment {
  return (stage) => Math.floor(Math.random() * 800 * (seconds[stage] ?? 0));
}

/** Draws a moment of a stage, in milliseconds after it was seen. */
export type Moment = (stage: Stage) => number;

/**
 * Waits for the stage and kills a service with SIGKILL at a moment of it: the one that does the stage, or another, or
 * "clickhouse". A stage that was over sooner is not waited for: the kill then falls in the one after.
 * Returns the kill, or none when the job ended before.
 */
export async function killServiceIn(wanted: Stage, job: DemoJob, moment: Moment, service?: string): Promise<readonly Kill[]> {
  const found = await whenIn(wanted, job);
  if (found === undefined) return [];
  const afterMs = moment(found.stage);
  await sleep(afterMs);
  const victim = service ?? STAGES[found.stage];
  const pid = pidOf(victim, job);
  if (pid === undefined) return [];
  process.kill(pid, "SIGKILL");
  while (job.running && pidOf(victim, job) === pid) await sleep(20);
  return [{ stage: found.stage, victim, afterMs }];
}

/** The process of a service, or of ClickHouse, below the job's own. */
function pidOf(name: string, job: DemoJob): number | undefined {
  const sign = name === "clickhouse" ? "/clickhouse/src/server/" : `/services/${name}/src/main.ts`;
  return processTree(job.pid).find(({ command }) => command.includes(sign))?.pid;
}

/** How long the processes of a killed parent may take to notice. */
const ORPHANS_MS = 10_000;

/**
 * Waits for the stage, kills the command itself with SIGKILL at a moment of it, and waits until every process that it
 * had started, ClickHouse included, has ended by itself. Returns the kill, or none when the job ended before.
 * @throws Error naming the processes that outlived their parent.
 */
export async function killAllIn(wanted: Stage, job: DemoJob, moment: Moment): Promise<readonly Kill[]> {
  const found = await whenIn(wanted, job);
  if (found === undefined) return [];
  const afterMs = moment(found.stage);
  await sleep(afterMs);
  const tree = processTree(job.pid);
  await job.kill();
  await whenEnded(tree, ORPHANS_MS);
  return [{ stage: found.stage, victim: `the whole tree of ${tree.length}`, afterMs }];
}

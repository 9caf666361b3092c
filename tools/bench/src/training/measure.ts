import { batchCount } from "./batches.ts";
import type { Contender, StepTime } from "./contender.ts";

/** A contender's steps, summed up. */
export interface Figures {
  readonly name: string;
  readonly version: string;
  readonly steps: number;
  readonly wall_ms_median: number;
  readonly wall_ms_best: number;
  readonly cpu_ms_median: number;
  readonly tokens_per_second: number;
  /** Largest memory of its process, bytes. */
  readonly peak_rss: number;
  /** Median wall time of this contender over that of the first. */
  readonly times_ours: number;
  readonly first_loss: number;
  readonly last_loss: number;
}

const warmUps = 2;
const fewestRounds = 8;
const mostRounds = 60;

/** Lets the contenders take turns, one step each a round, until `rounds` or about `seconds` are over. */
export async function takeTurns(contenders: readonly Contender[], rows: number, rounds: number | undefined, seconds: number): Promise<Figures[]> {
  const times = contenders.map((): StepTime[] => []);
  for (let warmUp = 0; warmUp < warmUps; warmUp++) for (const contender of contenders) await contender.step(warmUp % batchCount);
  const began = performance.now();
  for (let round = 0; round < (rounds ?? mostRounds); round++) {
    if (rounds === undefined && round >= fewestRounds && performance.now() - began > seconds * 1000) break;
    for (const [i, contender] of contenders.entries()) times[i]!.push(await contender.step(round % batchCount));
  }
  const ours = median(times[0]!.map(({ wallMs }) => wallMs));
  return contenders.map(({ name, version }, i) => {
    const steps = times[i]!;
    const wall = steps.map(({ wallMs }) => wallMs);
    return {
      name,
      version,
      steps: steps.length,
      wall_ms_median: median(wall),
      wall_ms_best: Math.min(...wall),
      cpu_ms_median: median(steps.map(({ cpuMs }) => cpuMs)),
      tokens_per_second: (rows / median(wall)) * 1000,
      peak_rss: Math.max(...steps.map(({ peakRss }) => peakRss)),
      times_ours: median(wall) / ours,
      first_loss: steps[0]!.loss,
      last_loss: steps.at(-1)!.loss,
    };
  });
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

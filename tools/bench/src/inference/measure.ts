import type { Cell } from "./cells.ts";
import { tokensOf, type Contender, type Turn, type Work } from "./work.ts";

/** One entrant's turns, summed up. */
export interface Figures {
  readonly name: string;
  readonly version: string;
  readonly turns: number;
  readonly wall_ms_median: number;
  readonly cpu_ms_median: number | undefined;
  readonly tokens_per_second: number;
}

/** How a rival stands to the engine: above 1 the engine is the faster. */
export interface Ratio {
  readonly rival: string;
  /** Rival's wall time over ours: the median of the rounds, so that the machine's drift cancels out. */
  readonly ratio: number;
  /** Least and largest of the rounds. */
  readonly lowest: number;
  readonly highest: number;
  readonly wanted: number | undefined;
}

export interface CellReport {
  readonly id: string;
  readonly figures: readonly Figures[];
  readonly ratios: readonly Ratio[];
  readonly missing: readonly string[];
}

interface Entrant {
  readonly name: string;
  readonly contender: Contender;
  readonly work: Work;
  readonly wanted: number | undefined;
  readonly turns: Turn[];
}

const warmUps = 1;

/** Who can take turns in a cell. */
export interface Entrants {
  readonly engine: Contender;
  /** Who does the cell's own work: the engine, or the service. */
  readonly subject: Contender;
  /** A peer, or why there is none. */
  readonly peer: (name: string) => Contender | string;
}

/** Lets this project and its rivals take turns, one each a round. */
export async function takeTurns(cell: Cell, { engine, subject, peer: peerOf }: Entrants, rounds: number): Promise<CellReport> {
  const entrants: Entrant[] = [{ name: subject.name, contender: subject, work: cell.work, wanted: undefined, turns: [] }];
  const missing: string[] = [];
  for (const { name, peer, work, wanted } of cell.rivals) {
    const contender = peer === undefined ? engine : peerOf(peer);
    if (typeof contender === "string") missing.push(`${name}: ${contender}`);
    else entrants.push({ name, contender, work, wanted, turns: [] });
  }
  const failed = new Set<Entrant>();
  for (let round = -warmUps; round < rounds; round++) {
    for (const entrant of entrants) {
      const { contender, work, turns } = entrant;
      if (failed.has(entrant)) continue;
      try {
        const turn = await contender.run(work);
        if (round >= 0) turns.push(turn);
      } catch (error) {
        if (entrant === entrants[0]) throw error;
        // A peer that fails leaves the cell; the others go on.
        failed.add(entrant);
        missing.push(`${entrant.name}: ${error instanceof Error ? error.message : String(error)}`);
      }
    }
  }
  const [ours, ...others] = entrants.filter((entrant) => !failed.has(entrant)) as [Entrant, ...Entrant[]];
  return { id: cell.id, figures: [ours, ...others].map(figuresOf), ratios: others.map((other) => ratioOf(ours, other)), missing };
}

function figuresOf({ name, contender, work, turns }: Entrant): Figures {
  const wall = median(turns.map(({ wallMs }) => wallMs));
  const cpu = turns.flatMap(({ cpuMs }) => (cpuMs === undefined ? [] : [cpuMs]));
  return {
    name,
    version: contender.version,
    turns: turns.length,
    wall_ms_median: wall,
    cpu_ms_median: cpu.length === 0 ? undefined : median(cpu),
    tokens_per_second: (tokensOf(work) / wall) * 1000,
  };
}

function ratioOf(ours: Entrant, other: Entrant): Ratio {
  const rounds = other.turns.map(({ wallMs }, i) => wallMs / ours.turns[i]!.wallMs);
  return { rival: other.name, ratio: median(rounds), lowest: Math.min(...rounds), highest: Math.max(...rounds), wanted: other.wanted };
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

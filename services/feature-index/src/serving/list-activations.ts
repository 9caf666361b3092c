import { ActivationGroup } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature";
import { invalidArgument } from "@mistral-sae/rpc";
import type { ExampleBin, WindowFiring } from "../wire/example-message.ts";
import type { FiringSource } from "./firing-source.ts";
import type { Firings, Place } from "./firings.ts";
import type { StoredWindow } from "./windows.ts";

/** Which examples are wanted. */
export interface ActivationQuery {
  readonly group: ActivationGroup;
  readonly nBins: number;
  readonly seed: bigint;
  readonly offset: number;
  readonly limit: number;
}

/** An example before its window is read. */
export interface ChosenExample {
  readonly firing: WindowFiring;
  readonly bin: ExampleBin;
}

/** A page of examples. */
export interface ChosenPage {
  readonly examples: readonly ChosenExample[];
  /** Where the next page begins; undefined on the last. */
  readonly next: number | undefined;
}

const MOST_BINS = 100;

/** Reads windows by number. */
export type WindowReader = (sequences: readonly number[]) => Promise<ReadonlyMap<number, StoredWindow>>;

/** The examples of a group. @throws INVALID_ARGUMENT, and FAILED_PRECONDITION for near-misses of an index that keeps none. */
export async function chooseExamples(source: FiringSource, query: ActivationQuery, readWindows: WindowReader): Promise<ChosenPage> {
  const { group, nBins, seed, offset, limit } = query;
  if (nBins < 1 || nBins > MOST_BINS) throw invalidArgument("n_bins", `got ${nBins}, wanted 1 to ${MOST_BINS}`);
  const unbinned = { group, bin: 0, min: 0, max: 0, contains: 0 };
  switch (group) {
    case ActivationGroup.TOP:
      return (offset === 0 ? await storedTop(source, unbinned, limit) : undefined) ?? (await chooseTop(await source.loaded(), unbinned, limit, offset));
    case ActivationGroup.RANDOM: {
      const firings = source.queried;
      const rows = await firings.drawn(seed, limit + 1, offset);
      return { examples: await inWindows(firings, rows.slice(0, limit), () => unbinned), next: rows.length > limit ? offset + limit : undefined };
    }
    case ActivationGroup.NON_ACTIVATING: {
      const sequences = await source.queried.silentWindows(seed, limit + 1, offset);
      const windows = await readWindows(sequences.slice(0, limit));
      const examples = sequences.slice(0, limit).map((sequence) => ({ firing: { sequence, token: middle(windows.get(sequence)), pos: [], acts: [] }, bin: unbinned }));
      return { examples, next: sequences.length > limit ? offset + limit : undefined };
    }
    case ActivationGroup.QUANTILE_COUNT:
      return await chooseByCount(await source.loaded(), nBins, limit);
    case ActivationGroup.QUANTILE_VALUE:
      return await chooseByValue(await source.loaded(), nBins, limit);
    case ActivationGroup.NEAR_MISS: {
      const misses = await source.queried.nearMisses(limit + 1, offset);
      return { examples: misses.slice(0, limit).map(({ firing, threshold }) => ({ firing, bin: { ...unbinned, max: threshold } })), next: misses.length > limit ? offset + limit : undefined };
    }
    default:
      throw invalidArgument("group", `got ${String(group)}, wanted TOP, QUANTILE_COUNT, QUANTILE_VALUE, RANDOM, NEAR_MISS or NON_ACTIVATING`);
  }
}

/** The place in a silent window around which its text is shown. */
function middle(window: StoredWindow | undefined): number {
  return Math.floor((window?.tokens.length ?? 0) / 2);
}

/** The first page of them, which is stored. Where the stored ones end, the next page may turn out to be empty. */
async function storedTop(source: FiringSource, bin: ExampleBin, limit: number): Promise<ChosenPage | undefined> {
  const stored = await source.storedTop(limit);
  return stored === undefined ? undefined : { examples: stored.firings.map((firing) => ({ firing, bin })), next: stored.more ? limit : undefined };
}

/** Strongest first, one a document; the offset counts documents. */
async function chooseTop(firings: Firings, bin: ExampleBin, limit: number, offset: number): Promise<ChosenPage> {
  const docs = new Set<number>();
  const best: Place[] = [];
  const wanted = offset + limit;
  for (let batch = 4 * (limit + 1), at = 0; best.length <= wanted; at += batch, batch *= 2) {
    const rows = await firings.strongest(batch, at);
    for (const [i, doc] of (await firings.documents(rows)).entries()) {
      if (docs.has(doc)) continue;
      docs.add(doc);
      best.push(rows[i] as Place);
    }
    if (rows.length < batch) break;
  }
  return { examples: await inWindows(firings, best.slice(offset, wanted), () => bin), next: best.length > wanted ? wanted : undefined };
}

/** Evenly spaced ranks of strata that hold equally many firings. */
async function chooseByCount(firings: Firings, nBins: number, limit: number): Promise<ChosenPage> {
  const { n } = await firings.extent();
  const perBin = Math.max(1, Math.floor(limit / nBins));
  const bins = Array.from({ length: nBins }, (_, bin) => ({ bin, start: Math.floor((bin * n) / nBins), end: Math.floor(((bin + 1) * n) / nBins) }));
  return await chooseRanks(firings, bins, n, perBin, ActivationGroup.QUANTILE_COUNT);
}

/** Evenly spaced ranks of strata that are equally wide in value. */
async function chooseByValue(firings: Firings, nBins: number, limit: number): Promise<ChosenPage> {
  const { n, max } = await firings.extent();
  if (n === 0) return { examples: [], next: undefined };
  const counts = (await firings.counts(0, max, nBins, false)).toReversed();
  const perBin = Math.max(1, Math.floor(limit / nBins));
  let start = 0;
  const bins = counts.map((count, bin) => ({ bin, start, end: (start += count), min: (max * (nBins - 1 - bin)) / nBins, max: (max * (nBins - bin)) / nBins }));
  return await chooseRanks(firings, bins, n, perBin, ActivationGroup.QUANTILE_VALUE);
}

/** A stratum by its ranks, from 0. */
interface RankBin {
  readonly bin: number;
  readonly start: number;
  readonly end: number;
  /** Edges; by default the least and largest value in it. */
  readonly min?: number;
  readonly max?: number;
}

async function chooseRanks(firings: Firings, bins: readonly RankBin[], n: number, perBin: number, group: ActivationGroup): Promise<ChosenPage> {
  const full = bins.filter(({ start, end }) => end > start);
  const picks = full.map(({ start, end }) => [...new Set(Array.from({ length: perBin }, (_, i) => start + Math.floor(((i + 0.5) * (end - start)) / perBin)))]);
  // The ends of each stratum tell its edges.
  const ranks = [...new Set(full.flatMap(({ start, end }, i) => [start, end - 1, ...(picks[i] as number[])]))];
  const rows = new Map((await firings.ranked(ranks.map((rank) => rank + 1))).map((row) => [row.rank - 1, row]));
  const value = (rank: number) => rows.get(rank)?.activation ?? 0;
  const chosen = full.flatMap(({ bin, start, end, min, max }, i) => {
    const edges = { group, bin, min: min ?? value(end - 1), max: max ?? value(start), contains: (end - start) / n };
    return (picks[i] as number[]).map((rank) => ({ place: rows.get(rank), edges })).filter(({ place }) => place !== undefined);
  });
  const places = chosen.map(({ place }) => place as Place);
  return { examples: await inWindows(firings, places, (i) => (chosen[i] as (typeof chosen)[number]).edges), next: undefined };
}

async function inWindows(firings: Firings, places: readonly Place[], binOf: (i: number) => ExampleBin): Promise<ChosenExample[]> {
  return (await firings.inWindows(places)).map((firing, i) => ({ firing, bin: binOf(i) }));
}

import { namedSets } from "./ready-rows.ts";
import { RunRows } from "../jobs/run-rows.ts";
import type { DataFolder } from "../jobs/paths.ts";
import type { RunRow, RunStore } from "../runs/run-store.ts";

/** The runs that have not ended, by the folder of each activation set that they read. */
export function readersOf(store: RunStore, folder: DataFolder, shardBytes: number): ReadonlyMap<string, readonly string[]> {
  const readers = new Map<string, string[]>();
  for (const run of store.page(Number.MAX_SAFE_INTEGER)) {
    if (run.stopped || run.weightsSha256 !== "") continue;
    for (const set of setsOf(run, folder, shardBytes)) readers.set(set, [...(readers.get(set) ?? []), run.id]);
  }
  return readers;
}

/** Folders of the sets that a run reads. */
export function setsOf(run: RunRow, folder: DataFolder, shardBytes: number): readonly string[] {
  return run.config.activations === "" ? new RunRows(run, folder, shardBytes).sets.map((set) => set.folder) : namedSets(run.config);
}

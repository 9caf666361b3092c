import { mkdtemp, rm } from "node:fs/promises";
import { availableParallelism, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { BuiltIndex } from "./built-index.ts";
import { benchPages, FeatureDraw } from "./pages.ts";
import { type Reading, readingsTable } from "./report.ts";
import { benchRivals } from "./rivals.ts";
import { benchSearches } from "./searches.ts";

/** What the sections measure with. */
export interface IndexBench {
  readonly built: BuiltIndex;
  readonly draw: FeatureDraw;
  /** How often each thing is done, about. */
  readonly n: number;
  readonly seed: number;
  readonly python: string | undefined;
  readonly threads: number;
  readonly log: (line: string) => void;
}

/** Parts of the benchmark over one built index. */
const sections: Readonly<Record<string, (bench: IndexBench) => Promise<Reading[] | string>>> = {
  pages: async ({ built, draw, n }) => await benchPages(built, draw, n),
  searches: async ({ built, draw, n, seed }) => await benchSearches(built, draw, n, seed),
  rivals: async ({ built, draw, n, python, threads, log }) => await benchRivals(built, draw, { python, threads, n: n >> 2, log }),
};

/** `bench index`: the feature index over synthetic codes. */
export async function runIndexBench(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      activations: { type: "string", default: "67M" },
      folder: { type: "string" },
      only: { type: "string", default: Object.keys(sections).join(",") },
      n: { type: "string", default: "400" },
      seed: { type: "string" },
      python: { type: "string" },
      threads: { type: "string", default: String(availableParallelism()) },
      json: { type: "boolean", default: false },
    },
  });
  const chosen = values.only.split(",").filter((name) => name !== "").map((name) => {
    const section = sections[name];
    if (section === undefined) throw new Error(`--only: got "${name}", wanted some of ${Object.keys(sections).join(", ")}`);
    return section;
  });
  const kept = values.folder ?? process.env["MISTRAL_SAE_BENCH_INDEX"];
  const folder = kept ?? (await mkdtemp(join(tmpdir(), "bench-index-")));
  const shape = { dSae: 131_072, k: 128, dVocab: 32_000, dIn: 16, contextSize: 128 };
  const log = (line: string) => (values.json ? undefined : console.log(line));
  try {
    await using built = await BuiltIndex.open({ folder, activations: count(values.activations), shape, threads: Number(values.threads), log });
    // Other features each time, so that calls are first calls.
    const seed = values.seed === undefined ? Date.now() : Number(values.seed);
    const draw = await FeatureDraw.of(built, seed);
    const python = [values.python, process.env["MISTRAL_SAE_BENCH_PYTHON"]].find((path) => path !== undefined && path !== "");
    const readings: Reading[] = [];
    const tables: string[] = [];
    for (const section of chosen) {
      const found = await section({ built, draw, n: Number(values.n), seed, python, threads: Number(values.threads), log });
      if (typeof found === "string") tables.push(found);
      else readings.push(...found);
    }
    if (values.json) console.log(JSON.stringify({ activations: built.nActivations, tableBytes: built.tableBytes, readings, tables }, undefined, 2));
    else console.log([`\n${values.threads} threads, load ${loadavg()[0]?.toFixed(1)}`, ...(readings.length > 0 ? [readingsTable(readings)] : []), ...tables].join("\n\n"));
  } finally {
    if (kept === undefined) await rm(folder, { recursive: true, force: true });
  }
}

/** 67M is 67 million. */
function count(text: string): number {
  const value = Number(text.replace(/M$/, "e6"));
  if (!Number.isSafeInteger(value) || value < 1) throw new Error(`--activations: got "${text}", wanted a number such as 67M`);
  return value;
}

import { mkdtemp, rm } from "node:fs/promises";
import { availableParallelism, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { BuiltIndex } from "./built-index.ts";
import { benchIngest } from "./ingest.ts";
import { meaningReadings, measureMeaning } from "./meaning.ts";
import { benchPages, FeatureDraw } from "./pages.ts";
import { type Reading, readingsTable } from "./report.ts";
import { benchRivals } from "./rivals.ts";
import { benchSearches } from "./searches.ts";
import { benchStorage } from "./storage.ts";
import type { Shape } from "./synthetic.ts";

/** What the command line asks for. */
interface IndexBenchOptions {
  readonly activations: number;
  /** Keeps what is built. */
  readonly folder: string;
  /** How often each thing is done, about. */
  readonly n: number;
  readonly seed: number;
  /** Tokens that `ingest` sends. */
  readonly tokens: number;
  readonly finish: boolean;
  readonly python: string | undefined;
  readonly threads: number;
  readonly log: (line: string) => void;
}

/** What is asked of the one built index. */
interface Serving extends IndexBenchOptions {
  readonly built: BuiltIndex;
  readonly draw: FeatureDraw;
}

/** Readings, or a table of its own. */
type Found = Promise<Reading[] | string>;

const SHAPE: Shape = { dSae: 131_072, k: 128, dVocab: 32_000, dIn: 16, contextSize: 128 };
const INGEST_BLOCKS = 40;

/** Sections over an index of their own, or over none. */
const alone: Readonly<Record<string, (options: IndexBenchOptions) => Found>> = {
  ingest: async ({ threads, tokens, finish, log }) => await benchIngest({ shape: SHAPE, threads, blocks: INGEST_BLOCKS, tokens, finish, log }),
  meaning: async ({ threads, n }) => meaningReadings(await measureMeaning({ threads, searches: n >> 1 })),
};

/** Sections over the built index while it serves. */
const serving: Readonly<Record<string, (serving: Serving) => Found>> = {
  pages: async ({ built, draw, n }) => await benchPages(built, draw, n),
  searches: async ({ built, draw, n, seed }) => await benchSearches(built, draw, n, seed),
  rivals: async ({ built, draw, n, python, threads, log }) => await benchRivals(built, draw, { python, threads, n: n >> 2, log }),
};

/** The section over the built index once its service has stopped. */
const STORAGE = "storage";
const names = [...Object.keys(alone), ...Object.keys(serving), STORAGE];

/** `bench index`: the feature index over synthetic codes. */
export async function runIndexBench(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      activations: { type: "string", default: "67M" },
      folder: { type: "string" },
      only: { type: "string", default: names.join(",") },
      n: { type: "string", default: "400" },
      seed: { type: "string" },
      tokens: { type: "string", default: "2M" },
      finish: { type: "boolean", default: false },
      python: { type: "string" },
      threads: { type: "string", default: String(availableParallelism()) },
      json: { type: "boolean", default: false },
    },
  });
  const chosen = values.only.split(",").filter((name) => name !== "");
  for (const name of chosen) if (!names.includes(name)) throw new Error(`--only: got "${name}", wanted some of ${names.join(", ")}`);
  const kept = values.folder ?? process.env["MISTRAL_SAE_BENCH_INDEX"];
  const folder = kept ?? (await mkdtemp(join(tmpdir(), "bench-index-")));
  const options: IndexBenchOptions = {
    activations: count("--activations", values.activations),
    folder,
    n: Number(values.n),
    // Other features each time, so that calls are first calls.
    seed: values.seed === undefined ? Date.now() : Number(values.seed),
    tokens: count("--tokens", values.tokens),
    finish: values.finish,
    python: [values.python, process.env["MISTRAL_SAE_BENCH_PYTHON"]].find((path) => path !== undefined && path !== ""),
    threads: Number(values.threads),
    log: (line) => (values.json ? undefined : console.log(line)),
  };
  try {
    const { found, ...index } = await measured(options, chosen);
    const readings = found.flatMap((one) => (typeof one === "string" ? [] : one));
    const tables = found.filter((one) => typeof one === "string");
    if (values.json) console.log(JSON.stringify({ ...index, readings, tables }, undefined, 2));
    else console.log([`\n${values.threads} threads, load ${loadavg()[0]?.toFixed(1)}`, ...(readings.length > 0 ? [readingsTable(readings)] : []), ...tables].join("\n\n"));
  } finally {
    if (kept === undefined) await rm(folder, { recursive: true, force: true });
  }
}

/** Runs the chosen sections; an index is built only for those that need it. */
async function measured(options: IndexBenchOptions, chosen: readonly string[]) {
  const found: Awaited<Found>[] = [];
  for (const [name, section] of Object.entries(alone)) if (chosen.includes(name)) found.push(await section(options));
  const over = Object.entries(serving).filter(([name]) => chosen.includes(name));
  if (over.length === 0 && !chosen.includes(STORAGE)) return { found };
  const { activations, folder, threads, log, seed } = options;
  let index: { readonly activations: number; readonly tableBytes: Readonly<Record<string, number>>; readonly data: string };
  {
    await using built = await BuiltIndex.open({ folder, activations, shape: SHAPE, threads, log });
    index = { activations: built.nActivations, tableBytes: built.tableBytes, data: join(built.folder, "data") };
    const draw = await FeatureDraw.of(built, seed);
    for (const [, section] of over) found.push(await section({ ...options, built, draw }));
  }
  if (chosen.includes(STORAGE)) found.push(await benchStorage(index.data, index.activations));
  return { found, activations: index.activations, tableBytes: index.tableBytes };
}

/** 67M is 67 million. */
function count(option: string, text: string): number {
  const value = Number(text.replace(/M$/, "e6"));
  if (!Number.isSafeInteger(value) || value < 1) throw new Error(`${option}: got "${text}", wanted a number such as 67M`);
  return value;
}

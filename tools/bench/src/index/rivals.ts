import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { ActivationGroup, FeatureView } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature";
import type { BuiltIndex } from "./built-index.ts";
import { percentile } from "./measure.ts";
import type { FeatureDraw } from "./pages.ts";
import { SAE } from "./peer.ts";
import { type Rivals, startRivals } from "./rival-process.ts";

/** What the peers are measured with. */
export interface RivalOptions {
  readonly python: string | undefined;
  readonly threads: number;
  /** Features of each question. */
  readonly n: number;
  readonly log: (line: string) => void;
}

/** One question: ours over gRPC, and what an answer has to agree in. */
interface Question {
  readonly name: string;
  readonly query: string;
  readonly peers: readonly string[];
  readonly ask: (feature: number) => Promise<unknown>;
  /** A peer's answer in the form of ours, to be compared; absent where they differ by design. */
  readonly same?: (ours: unknown, theirs: unknown) => boolean;
}

// Its loader reads a whole file for each latent.
const DELPHI_FEATURES = 3;

/** Page queries taking turns with DuckDB over this service's Parquet export and Delphi's loader over its Delphi export; a Markdown table. */
export async function benchRivals(built: BuiltIndex, draw: FeatureDraw, { python, threads, n, log }: RivalOptions): Promise<string> {
  if (python === undefined) return "not measured: DuckDB and Delphi (no Python with the peers: give --python or $MISTRAL_SAE_BENCH_PYTHON)";
  const parquet = join(built.folder, "parquet");
  const delphi = join(built.folder, "delphi");
  await exported(built, parquet, async () => (await built.index.exportParquet({ index: built.name, uri: parquet })).operation, log);
  await exported(built, delphi, async () => (await built.index.exportDelphiCache({ index: built.name, uri: delphi })).operation, log);
  await using rivals = await startRivals(python, parquet, delphi, threads);
  const rows: string[] = [];
  for (const question of questionsOf(built)) {
    for (const peer of question.peers) rows.push(await compare(question, peer, rivals, draw, peer === "delphi" ? DELPHI_FEATURES : n));
  }
  return ["| page query | ours p50 / p95 ms | peer | its p50 / p95 ms | ratio of p50 | least, largest | answers |", "|---|--:|---|--:|--:|--:|---|", ...rows].join("\n");
}

async function exported(built: BuiltIndex, folder: string, start: () => Promise<Parameters<BuiltIndex["response"]>[0]>, log: (line: string) => void): Promise<void> {
  const done = `${folder}.done`;
  if (existsSync(done)) return;
  log(`exporting to ${folder}`);
  const began = performance.now();
  await built.response(await start(), log);
  log(`  in ${((performance.now() - began) / 1000).toFixed(0)} s`);
  await writeFile(done, "");
}

function questionsOf({ index }: BuiltIndex): Question[] {
  const name = (feature: number) => `${SAE}/features/${feature}`;
  const listed = async (feature: number, group: ActivationGroup, pageSize: number) => {
    const { activations } = await index.listActivations({ parent: name(feature), group, pageSize, nBins: 5 });
    return activations.map(({ sequenceId, positions, values, qualifyingTokenIndex }) => [Number(sequenceId), values[positions.indexOf(qualifyingTokenIndex)]]);
  };
  const same = (ours: unknown, theirs: unknown) => JSON.stringify(ours) === JSON.stringify(theirs);
  return [
    { name: "20 strongest", query: "top", peers: ["duckdb"], ask: (feature) => listed(feature, ActivationGroup.TOP, 20), same },
    {
      name: "statistics and histogram",
      query: "statistics",
      peers: ["duckdb"],
      ask: async (feature) => {
        const [{ feature: found }, { histogram }] = await Promise.all([index.getFeature({ name: name(feature) }), index.getHistogram({ name: name(feature), nBins: 40 })]);
        return { n: Number(found?.nFirings), max: found?.maxActivation, counts: histogram?.counts.map(Number) };
      },
      same,
    },
    { name: "25 of 5 strata", query: "stratified", peers: ["duckdb"], ask: (feature) => listed(feature, ActivationGroup.QUANTILE_COUNT, 25), same },
    {
      name: "full page",
      query: "page",
      peers: ["duckdb", "delphi"],
      ask: async (feature) => (await index.getFeature({ name: name(feature), view: FeatureView.FULL })).feature?.maxActivation,
      // Delphi's activations are F16.
      same: (ours, theirs) => {
        const { statistics, most } = theirs as { readonly statistics?: { readonly max: number }; readonly most?: number };
        return Math.abs(((statistics?.max ?? most) as number) / (ours as number) - 1) < 1e-3;
      },
    },
  ];
}

async function compare({ name, query, ask, same }: Question, peer: string, rivals: Rivals, draw: FeatureDraw, n: number): Promise<string> {
  if (rivals.versions[peer] === undefined) return `| ${name} | | not measured: ${peer} (${rivals.missing[peer] ?? "?"}) | | | | |`;
  const features = [...draw.light(Math.ceil(n / 2)), ...draw.heavy(Math.floor(n / 2))];
  for (const feature of draw.light(peer === "delphi" ? 1 : 5)) {
    await ask(feature);
    if (peer !== "delphi") await rivals.ask(peer, query, feature);
  }
  const [ours, theirs]: [number[], number[]] = [[], []];
  let different = 0;
  for (const feature of features) {
    const began = performance.now();
    const answer = await ask(feature);
    ours.push(performance.now() - began);
    const other = await rivals.ask(peer, query, feature);
    theirs.push(other.ms);
    if (same !== undefined && !same(answer, other.answer)) different += 1;
  }
  const ratios = theirs.map((ms, i) => ms / (ours[i] as number));
  const pair = (times: readonly number[]) => `${percentile(times, 0.5).toFixed(1)} / ${percentile(times, 0.95).toFixed(1)}`;
  const verdict = different === 0 ? "the same" : `${different} of ${n} DIFFER`;
  return `| ${name} | ${pair(ours)} | ${rivals.versions[peer] ?? peer} | ${pair(theirs)} | ${(percentile(theirs, 0.5) / percentile(ours, 0.5)).toFixed(1)} | ${Math.min(...ratios).toFixed(1)}, ${Math.max(...ratios).toFixed(1)} | ${verdict} |`;
}

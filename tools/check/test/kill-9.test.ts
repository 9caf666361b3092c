import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { DemoJob, type DemoJobOptions, type JobReport, outcomeOf } from "../src/acceptance/demo-job.ts";
import { type Stage, stages } from "../src/acceptance/job-stages.ts";
import { type Kill, killAllIn, killServiceIn, randomMoments } from "../src/acceptance/kills.ts";
import { processTree, whenEnded } from "../src/acceptance/process-tree.ts";
import { runCli } from "../src/acceptance/run-cli.ts";
import { writeSampleCorpus } from "../src/acceptance/sample-corpus.ts";

const MINUTES = 60_000;
// Stages shorter than the poll may slip by; most may not, or the test would prove nothing.
const LEAST_STAGES = 4;

const linux = existsSync("/proc/self/stat");
if (!linux) console.log("skipped: without /proc no process tree can be followed");

describe.skipIf(!linux)("the main job", () => {
  let folder = "";
  let undisturbed: JobReport;
  let facts: readonly string[] | undefined;
  const startIn = (data: string, stay = false): DemoJob => new DemoJob({ ...optionsOf(data), stay });
  const optionsOf = (data: string): DemoJobOptions => ({ data: join(folder, data), corpus: join(folder, "corpus.jsonl"), dSae: 256, trainingTokens: 204_800 });

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "kill-9-"));
    await writeSampleCorpus(join(folder, "corpus.jsonl"), 300);
    undisturbed = await startIn("undisturbed").report();
  }, 3 * MINUTES);
  afterAll(() => rm(folder, { recursive: true, force: true }));

  it("writes a report of a whole job", () => {
    expect(undisturbed).toMatchObject({ weights_sha256: expect.stringMatching(/^[0-9a-f]{64}$/), features_explained: 256 });
    expect(Object.keys(undisturbed.table_checksums)).toEqual(expect.arrayContaining(["documents", "sequences", "postings", "feature_examples"]));
    expect(undisturbed["steering"]).toHaveLength(1);
  });

  it("is found done by a second start, which reports the same", { timeout: 2 * MINUTES }, async () => {
    const again = await startIn("undisturbed").report();
    expect(outcomeOf(again)).toEqual(outcomeOf(undisturbed));
    // What was done once is not done again: the stages' times are those of the first start.
    for (const stage of stages) expect({ stage, seconds: again.seconds[stage] }).toEqual({ stage, seconds: undisturbed.seconds[stage] });
  });

  it("ends the same when the service of each stage, and the inference service beside it, is killed and started again", { timeout: 6 * MINUTES }, async () => {
    const job = startIn("services");
    const moment = randomMoments(undisturbed.seconds);
    const kills: Kill[] = [];
    for (const stage of stages) {
      kills.push(...(await killServiceIn(stage, job, moment)));
      if (stage === "harvest" || stage === "index") kills.push(...(await killServiceIn(stage, job, moment, "inference")));
    }
    console.log(`killed ${told(kills)}`);
    expect(outcomeOf(await job.report())).toEqual(outcomeOf(undisturbed));
    expect(new Set(kills.map(({ stage }) => stage)).size).toBeGreaterThanOrEqual(LEAST_STAGES);
  });

  it("ends the same when all of it is killed in each stage and started again, and no process outlives its parent", { timeout: 6 * MINUTES }, async () => {
    const moment = randomMoments(undisturbed.seconds);
    const kills: Kill[] = [];
    let job = startIn("tree");
    for (const stage of stages) {
      kills.push(...(await killAllIn(stage, job, moment)));
      if (job.killed) job = startIn("tree");
    }
    console.log(`killed ${told(kills)}`);
    expect(outcomeOf(await job.report())).toEqual(outcomeOf(undisturbed));
    expect(new Set(kills.map(({ stage }) => stage)).size).toBeGreaterThanOrEqual(LEAST_STAGES);
  });

  it.each(["undisturbed", "services", "tree"])("leaves the system running with every row once (%s), and ends whole at Ctrl-C", { timeout: 2 * MINUTES }, async (data) => {
    const job = startIn(data, true);
    const { gateway } = await job.whenRunning();
    const rows = await Promise.all(EVERY_ROW_ONCE.map(async (sql) => await onlyRow(gateway, sql)));
    const tree = processTree(job.pid);
    expect(await job.interrupt()).toBeOneOf([0, 130]);
    await whenEnded(tree, 1);
    facts ??= rows;
    expect(rows).toEqual(facts);
    for (const row of rows) {
      const { n, n_distinct } = JSON.parse(row) as { readonly n: number; readonly n_distinct: number };
      expect({ row, n }).toEqual({ row, n: n_distinct });
    }
  });
});

async function onlyRow(gateway: string, sql: string): Promise<string> {
  const { code, stdout, stderr } = await runCli("--address", gateway, "index", "sql", sql);
  if (code !== 0) throw new Error(stderr);
  return stdout.trim();
}

const EVERY_ROW_ONCE = [
  "SELECT count() AS n, uniqExact(sequence_id, token_index, feature_index) AS n_distinct, sum(cityHash64(sequence_id, token_index, feature_index, activation)) AS hash FROM activations",
  "SELECT count() AS n, uniqExact(feature_index) AS n_distinct, sum(cityHash64(feature_index, description)) AS hash FROM explanations",
  "SELECT count() AS n, uniqExact(feature_index) AS n_distinct, sum(cityHash64(feature_index, n_firings, max_activation, top_tokens, description)) AS hash FROM features",
] as const;

const told = (kills: readonly Kill[]): string => kills.map(({ stage, victim, afterMs }) => `${victim} ${afterMs} ms into ${stage satisfies Stage}`).join(", ");

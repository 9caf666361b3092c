import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { DemoJob, type DemoJobOptions, type JobReport, outcomeOf } from "../src/acceptance/demo-job.ts";
import { type Stage, stages } from "../src/acceptance/job-stages.ts";
import { type Kill, killAllIn, killServiceIn, randomMoments } from "../src/acceptance/kills.ts";
import { writeSampleCorpus } from "../src/acceptance/sample-corpus.ts";

const MINUTES = 60_000;
// Stages shorter than the poll may slip by; most may not, or the test would prove nothing.
const LEAST_STAGES = 4;

const linux = existsSync("/proc/self/stat");
if (!linux) console.log("skipped: without /proc no process tree can be followed");

describe.skipIf(!linux)("the main job", () => {
  let folder = "";
  let undisturbed: JobReport;
  const startIn = (data: string): DemoJob => new DemoJob(optionsOf(data));
  const optionsOf = (data: string): DemoJobOptions => ({ data: join(folder, data), corpus: join(folder, "corpus.jsonl"), dSae: 256, trainingTokens: 204_800 });

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "kill-9-"));
    await writeSampleCorpus(join(folder, "corpus.jsonl"), 300);
    undisturbed = await startIn("undisturbed").report();
  }, 3 * MINUTES);
  afterAll(() => rm(folder, { recursive: true, force: true }));

  it("writes a report of a whole job", () => {
    expect(undisturbed).toMatchObject({ weights_sha256: expect.stringMatching(/^[0-9a-f]{64}$/), features_explained: 256 });
    expect(Object.keys(undisturbed.table_checksums)).toEqual(expect.arrayContaining(["documents", "sequences", "postings", "feature_stats", "feature_examples"]));
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
});

const told = (kills: readonly Kill[]): string => kills.map(({ stage, victim, afterMs }) => `${victim} ${afterMs} ms into ${stage satisfies Stage}`).join(", ");

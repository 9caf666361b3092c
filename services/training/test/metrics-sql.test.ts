import { join } from "node:path";
import { FeatureIndexService } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import { TrainingRunState } from "@mistral-sae/contracts/mistral_sae/training/v1/training";
import { createClient } from "@mistral-sae/rpc";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Child, follow, succeeded, System, trainingClient } from "./system.ts";

let system: System;
let index: Child;
let training: Child;

beforeAll(async () => {
  system = await System.start();
  index = await startIndex("127.0.0.1:0");
  training = await system.training("sql", { MISTRAL_SAE_FEATURE_INDEX: index.address });
});
afterAll(async () => {
  await training.stop();
  await index.stop();
  await system.close();
});

async function startIndex(listen: string): Promise<Child> {
  return await Child.start("feature-index", { MISTRAL_SAE_LISTEN: listen, MISTRAL_SAE_DATA: join(system.root, "feature-index"), MISTRAL_SAE_INFERENCE: system.inferenceAddress, MISTRAL_SAE_THREADS: "2" });
}

async function steps(run: string): Promise<number[]> {
  const pieces: Uint8Array[] = [];
  const request = { sql: `SELECT step FROM training_metrics WHERE training_run = {run:String} ORDER BY step`, parameters: { run: `trainingRuns/${run}` } };
  for await (const { data } of createClient(FeatureIndexService, index.address).query(request)) pieces.push(data);
  return Buffer.concat(pieces).toString().split("\n").filter((line) => line !== "").map((line) => (JSON.parse(line) as { step: number }).step);
}

describe("training metrics in SQL", () => {
  it("are there while the run goes on, and whole after the feature index and the run itself were interrupted", { timeout: 120_000 }, async () => {
    const client = trainingClient(training);
    const name = "trainingRuns/watched";
    await client.createTrainingRun({ trainingRunId: "watched", config: system.config({ trainingTokens: 256n * 3000n, checkpointEverySteps: 200 }) });
    await follow(client, name, (run) => run.step > 100n);
    await expect.poll(() => steps("watched"), { timeout: 20_000 }).not.toEqual([]);
    const { trainingRun: during } = await client.getTrainingRun({ name });
    expect(during?.state).toBe(TrainingRunState.RUNNING);

    await index.kill();
    await training.kill();
    training = await system.training("sql", { MISTRAL_SAE_FEATURE_INDEX: index.address });
    await follow(trainingClient(training), name, (run) => run.state === TrainingRunState.RUNNING && run.step > (during?.step ?? 0n));
    index = await startIndex(index.address);
    const { metrics } = await follow(trainingClient(training), name, succeeded);
    const kept = metrics.map(({ step }) => Number(step));
    expect(kept.at(-1)).toBe(3000);
    await expect.poll(() => steps("watched"), { timeout: 60_000 }).toEqual(kept);
  });
});

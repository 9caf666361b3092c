import type { TrainingRun } from "@mistral-sae/contracts/mistral_sae/training/v1/training";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { follow, succeeded, System, trainingClient } from "./system.ts";

let system: System;

beforeAll(async () => {
  system = await System.start();
});
afterAll(async () => {
  await system.close();
});

const name = "trainingRuns/killed";

let wanted: TrainingRun;

beforeAll(async () => {
  const training = await system.training("undisturbed");
  const client = trainingClient(training);
  await client.createTrainingRun({ trainingRunId: "killed", config: system.config() });
  const { run } = await follow(client, name, succeeded);
  await training.stop();
  wanted = run;
});

describe("kill -9 of the training service", () => {
  it("costs nothing but time: the weights are those of an undisturbed run", { timeout: 300_000 }, async () => {
    const instants: readonly ((run: TrainingRun) => boolean)[] = [
      (run) => run.tokensHarvested > 0n,
      (run) => run.tokensHarvested > 20_000n,
      (run) => run.step > 5n,
      (run) => run.step > 90n,
    ];
    for (const [at, instant] of instants.entries()) {
      const training = await system.training("killed");
      if (at === 0) await trainingClient(training).createTrainingRun({ trainingRunId: "killed", config: system.config(), requestId: "once" });
      await follow(trainingClient(training), name, instant);
      await training.kill();
    }
    const training = await system.training("killed");
    const { run, metrics } = await follow(trainingClient(training), name, succeeded);
    await training.stop();
    expect(run.weightsSha256).toBe(wanted.weightsSha256);
    expect(run.tokensHarvested).toBe(wanted.tokensHarvested);
    expect(run.attempts).toBe(5);
    expect(run.evaluation?.fvu).toBe(wanted.evaluation?.fvu);
    expect(metrics.map(({ step }) => Number(step))).toEqual(Array.from({ length: 200 }, (_, step) => step + 1));
  });
});

describe("kill -9 of the inference service", () => {
  it("lets the run wait for its successor and go on", { timeout: 300_000 }, async () => {
    const training = await system.training("deserted");
    const client = trainingClient(training);
    await client.createTrainingRun({ trainingRunId: "killed", config: system.config() });
    await follow(client, name, (run) => run.tokensHarvested > 0n);
    await system.replaceInference();
    const { run } = await follow(client, name, succeeded);
    await training.stop();
    expect(run.weightsSha256).toBe(wanted.weightsSha256);
    expect(run.attempts).toBe(1);
    expect(run.warnings.join()).toContain("the inference service was away");
  });
});

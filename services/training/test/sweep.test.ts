import type { MessageInitShape } from "@bufbuild/protobuf";
import { SweepState, type CreateSweepRequestSchema, type Sweep, type SweepAxisSchema } from "@mistral-sae/contracts/mistral_sae/training/v1/sweep";
import { TrainingRunState } from "@mistral-sae/contracts/mistral_sae/training/v1/training";
import { Code } from "@mistral-sae/rpc";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { follow, operationClient, succeeded, System, trainingClient, type Child, type ConfigInit } from "./system.ts";

let system: System;
let training: Child;

beforeAll(async () => {
  system = await System.start();
  training = await system.training("sweeps");
});
afterAll(async () => {
  await training.stop();
  await system.close();
});

type Axis = MessageInitShape<typeof SweepAxisSchema>;

function request(sweepId: string, axes: readonly Axis[], over: ConfigInit = {}): MessageInitShape<typeof CreateSweepRequestSchema> {
  return { sweepId, config: system.config({ trainingTokens: 12_800n, evalTokens: 2000n, ...over }), axes: [...axes] };
}

async function ended(name: string, at: Child = training): Promise<Sweep> {
  for (;;) {
    const { sweep } = await trainingClient(at).getSweep({ name });
    if (sweep !== undefined && sweep.state !== SweepState.RUNNING) return sweep;
    await sleep(100);
  }
}

const hooks: Axis = { field: "hook_name", values: ["blocks.1.hook_resid_pre", "blocks.2.hook_resid_pre"] };
const sizes: Axis = { field: "k", values: ["4", "8"] };

describe("a sweep", () => {
  it("trains every combination from one pass of the model and says what came out", async () => {
    const client = trainingClient(training);
    const { sweep: begun } = await client.createSweep({ ...request("grid", [hooks, sizes]), parallelRuns: 2, requestId: "grid-1" });
    expect(begun).toMatchObject({ name: "sweeps/grid", state: SweepState.RUNNING, operation: "operations/training/grid", harvestPasses: 1 });
    const done = await ended("sweeps/grid");
    expect(done.state).toBe(SweepState.SUCCEEDED);
    expect(done.results.map(({ trainingRun, values }) => [trainingRun, values])).toEqual([
      ["trainingRuns/grid-1", { hook_name: "blocks.1.hook_resid_pre", k: "4" }],
      ["trainingRuns/grid-2", { hook_name: "blocks.1.hook_resid_pre", k: "8" }],
      ["trainingRuns/grid-3", { hook_name: "blocks.2.hook_resid_pre", k: "4" }],
      ["trainingRuns/grid-4", { hook_name: "blocks.2.hook_resid_pre", k: "8" }],
    ]);
    for (const result of done.results) {
      expect(result).toMatchObject({ state: "TRAINING_RUN_STATE_SUCCEEDED", step: 50n, saeUri: expect.stringContaining("grid-") });
      expect(result.fvu).toBeGreaterThan(0);
      expect(result.ceRecovered).toBeGreaterThan(0);
      expect(result.trainSeconds).toBeGreaterThan(0);
    }
    const { trainingRun } = await client.getTrainingRun({ name: "trainingRuns/grid-4" });
    expect(trainingRun).toMatchObject({ sweep: "sweeps/grid", config: { hookName: "blocks.2.hook_resid_pre", k: 8 }, state: TrainingRunState.SUCCEEDED });
    // The pass over the text came before; the run itself had nothing left to harvest.
    expect(trainingRun?.tokensHarvested).toBeGreaterThan(12_800n);
  });

  it("is the same sweep when asked for again, and another one is refused under its id", async () => {
    const client = trainingClient(training);
    const again = await client.createSweep({ ...request("grid", [hooks, sizes]), parallelRuns: 2, requestId: "grid-1" });
    expect(again.sweep?.state).toBe(SweepState.SUCCEEDED);
    expect((await client.createSweep(request("grid", [hooks, sizes]))).sweep?.state).toBe(SweepState.SUCCEEDED);
    await expect(client.createSweep(request("grid", [sizes]))).rejects.toMatchObject({ code: Code.AlreadyExists });
    await expect(client.createSweep({ ...request("grid", [sizes]), requestId: "grid-1" })).rejects.toMatchObject({ code: Code.AlreadyExists, reason: "REQUEST_ID_REUSED" });
    await expect(client.createTrainingRun({ trainingRunId: "grid", config: system.config() })).rejects.toMatchObject({ code: Code.AlreadyExists });
    const { sweeps } = await client.listSweeps({});
    expect(sweeps.map(({ name }) => name)).toEqual(["sweeps/grid"]);
  });

  it("trains the same weights as a run of its own", async () => {
    const client = trainingClient(training);
    await client.createTrainingRun({ trainingRunId: "alone", config: system.config({ trainingTokens: 12_800n, evalTokens: 2000n, k: 4, hookName: "blocks.1.hook_resid_pre" }) });
    const { run } = await follow(client, "trainingRuns/alone", succeeded);
    const { trainingRun } = await client.getTrainingRun({ name: "trainingRuns/grid-1" });
    expect(trainingRun?.weightsSha256).toBe(run.weightsSha256);
  });

  it("goes on after kill -9, while it harvests and while it trains", { timeout: 300_000 }, async () => {
    const over: ConfigInit = { trainingTokens: 51_200n };
    let child = await system.training("killed-sweep");
    await trainingClient(child).createSweep({ ...request("killed", [sizes], over), requestId: "once" });
    await child.kill();
    child = await system.training("killed-sweep");
    await follow(trainingClient(child), "trainingRuns/killed-1", (run) => run.step > 60n);
    await child.kill();
    child = await system.training("killed-sweep");
    await follow(trainingClient(child), "trainingRuns/killed-2", (run) => run.step > 60n);
    await child.kill();
    child = await system.training("killed-sweep");
    const done = await ended("sweeps/killed", child);
    const client = trainingClient(child);
    expect(done.state).toBe(SweepState.SUCCEEDED);
    await client.createTrainingRun({ trainingRunId: "calm", config: system.config({ ...over, evalTokens: 2000n, k: 8 }) });
    const { run: calm } = await follow(client, "trainingRuns/calm", succeeded);
    const { trainingRun } = await client.getTrainingRun({ name: "trainingRuns/killed-2" });
    expect(trainingRun?.weightsSha256).toBe(calm.weightsSha256);
    await child.stop();
  });

  it("is cancelled and taken up again as an operation, and is stopped for good", async () => {
    const client = trainingClient(training);
    const operations = operationClient(training);
    await client.createSweep(request("long", [sizes], { trainingTokens: 20_480_000n, checkpointEverySteps: 100_000 }));
    await follow(client, "trainingRuns/long-1", (run) => run.step > 20n);
    const waiting = await client.getTrainingRun({ name: "trainingRuns/long-2" });
    expect(waiting.trainingRun?.state).toBe(TrainingRunState.QUEUED);
    await expect(client.pauseTrainingRun({ name: "trainingRuns/long-2" })).rejects.toMatchObject({ reason: "RUN_NOT_BEGUN" });

    await operations.cancelOperation({ name: "operations/training/long" });
    await follow(client, "trainingRuns/long-1", (run) => run.state === TrainingRunState.PAUSED);
    expect((await ended("sweeps/long")).state).toBe(SweepState.STOPPED);
    await operations.resumeOperation({ name: "operations/training/long" });
    const resumed = async (): Promise<unknown> => (await client.getTrainingRun({ name: "trainingRuns/long-1" })).trainingRun;
    await expect.poll(resumed, { timeout: 20_000 }).toMatchObject({ state: TrainingRunState.RUNNING, attempts: 2 });

    const { sweep } = await client.stopSweep({ name: "sweeps/long" });
    expect(sweep?.state).toBe(SweepState.STOPPED);
    expect(sweep?.results.map(({ state }) => state)).toEqual(["TRAINING_RUN_STATE_STOPPED", "TRAINING_RUN_STATE_STOPPED"]);
    await expect(client.stopSweep({ name: "sweeps/long" })).rejects.toMatchObject({ code: Code.FailedPrecondition, reason: "SWEEP_ENDED" });
  });

  it("ends as failed when a run of it does, with the others done", async () => {
    const client = trainingClient(training);
    await client.createSweep(request("mixed", [{ field: "lr", values: ["1e-3", "1e38"] }]));
    const done = await ended("sweeps/mixed");
    expect(done.state).toBe(SweepState.FAILED);
    expect(done.results.map(({ state }) => state)).toEqual(["TRAINING_RUN_STATE_SUCCEEDED", "TRAINING_RUN_STATE_FAILED"]);
    const { operation } = await operationClient(training).getOperation({ name: "operations/training/mixed" });
    expect(operation?.result).toMatchObject({ case: "error", value: { message: expect.stringContaining("1 of 2 runs did not succeed: trainingRuns/mixed-2") } });
    const { trainingRun: failed } = await client.getTrainingRun({ name: "trainingRuns/mixed-2" });
    expect(failed?.stateDetail).toMatch(/not finite|no finite|non-finite|NaN|Infinity/i);
  });

  it("is checked whole before any work", async () => {
    const client = trainingClient(training);
    const bad = client.createSweep(request("bad", [{ field: "d_sae", values: ["256", "4"] }, sizes]));
    await expect(bad).rejects.toMatchObject({ code: Code.InvalidArgument, message: expect.stringContaining("of the run with d_sae 4, k 8"), violations: [{ field: "config.k" }] });
    await expect(client.getSweep({ name: "sweeps/bad" })).rejects.toMatchObject({ code: Code.NotFound });
    await expect(client.getTrainingRun({ name: "trainingRuns/bad-1" })).rejects.toMatchObject({ code: Code.NotFound });
    const { sweep: draft } = await client.createSweep({ ...request("draft", [hooks, sizes]), validateOnly: true });
    expect(draft?.results.map(({ state }) => state)).toEqual(Array.from({ length: 4 }, () => "TRAINING_RUN_STATE_QUEUED"));
    await expect(client.getSweep({ name: "sweeps/draft" })).rejects.toMatchObject({ code: Code.NotFound });
  });
});

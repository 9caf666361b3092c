import { existsSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fromBinary } from "@bufbuild/protobuf";
import { OperationState } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";
import { ExportedSaeSchema, SaeEvaluationSchema, TrainingRunState } from "@mistral-sae/contracts/mistral_sae/training/v1/training";
import { Code } from "@mistral-sae/rpc";
import { loadSae } from "@mistral-sae/sae";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { follow, operationClient, succeeded, System, trainingClient, type Child } from "./system.ts";

let system: System;
let training: Child;

beforeAll(async () => {
  system = await System.start();
  training = await system.training("training");
});
afterAll(async () => {
  await training.stop();
  await system.close();
});

describe("a training run", () => {
  it("harvests, trains, evaluates and leaves an SAE that loads", async () => {
    const client = trainingClient(training);
    const { trainingRun } = await client.createTrainingRun({ trainingRunId: "first", config: system.config(), requestId: "request-1" });
    expect(trainingRun).toMatchObject({ name: "trainingRuns/first", operation: "operations/training/first", totalSteps: 200n });
    const { run, metrics } = await follow(client, "trainingRuns/first", succeeded);

    expect(metrics.map(({ step }) => Number(step))).toEqual(Array.from({ length: 200 }, (_, step) => step + 1));
    expect(metrics.at(-1)?.fvu).toBeLessThan(metrics[0]?.fvu ?? 0);
    expect(run.tokensHarvested).toBeGreaterThan(51_000n);
    expect(Object.keys(run.stageSeconds).sort()).toEqual(["evaluate", "harvest", "train"]);

    const { evaluation } = run;
    expect(evaluation?.nTokens).toBeGreaterThan(500n);
    expect(evaluation?.fvu).toBeGreaterThan(0);
    expect(evaluation?.fvu).toBeLessThan(0.9);
    expect(evaluation?.l0).toBeLessThanOrEqual(8);
    expect(evaluation?.ceZero).toBeGreaterThan(evaluation?.ceSae ?? Infinity);
    expect(evaluation?.ceRecovered).toBeGreaterThan(0.5);
    expect(evaluation?.klRecovered).toBeGreaterThan(0.5);
    expect(evaluation?.explainedVariance).toBeCloseTo(1 - (evaluation?.fvu ?? 0), 12);
    expect(evaluation?.klRecovered).toBeCloseTo(1 - (evaluation?.klSae ?? 0) / (evaluation?.klZero ?? 1), 12);
    expect(evaluation?.l2Ratio).toBeGreaterThan(0.5);
    expect(evaluation?.relativeReconstructionBias).toBeGreaterThan(0.5);
    expect(evaluation?.mse).toBeGreaterThan(0);
    expect(evaluation?.l1).toBeGreaterThan(0);
    expect(evaluation?.decoderSimilarity).toMatchObject({ nFeatures: 256n });
    expect(evaluation?.decoderSimilarity?.max).toBeLessThanOrEqual(1.000001);
    expect(Object.keys(evaluation?.bySource ?? {}).sort()).toEqual(["others", "third"]);
    const parts = Object.values(evaluation?.bySource ?? {});
    expect(parts.reduce((sum, part) => sum + part.nTokens, 0n)).toBe(evaluation?.nTokens);
    expect(evaluation?.deadRule).toContain(`${evaluation?.nTokens} held-back tokens`);

    const { sae } = await loadSae(run.saeUri);
    expect(sae.config).toMatchObject({ dIn: 192, dSae: 256, k: 8, normalizeActivations: "none" });
    expect(sae.config.metadata).toMatchObject({ hook_name: "blocks.2.hook_resid_pre", model_name: "demo", context_size: 64, dataset_path: system.corpus });
  });

  it("is the same run when asked for again, at once", async () => {
    const client = trainingClient(training);
    const byRequest = await client.createTrainingRun({ trainingRunId: "first", config: system.config(), requestId: "request-1" });
    const byId = await client.createTrainingRun({ trainingRunId: "first", config: system.config() });
    expect(byRequest.trainingRun?.state).toBe(TrainingRunState.SUCCEEDED);
    expect(byId.trainingRun?.weightsSha256).toBe(byRequest.trainingRun?.weightsSha256);
    expect(byId.trainingRun?.attempts).toBe(1);
    const other = { trainingRunId: "first", config: system.config({ lr: 2e-3 }) };
    await expect(client.createTrainingRun(other)).rejects.toMatchObject({ code: Code.AlreadyExists });
    await expect(client.createTrainingRun({ ...other, requestId: "request-1" })).rejects.toMatchObject({ code: Code.AlreadyExists, reason: "REQUEST_ID_REUSED" });
  });

  it("shares the activations of an earlier run and differs where the configuration does", async () => {
    const client = trainingClient(training);
    const { trainingRun: run } = await client.createTrainingRun({ config: system.config({ seed: 5n }) });
    expect(run?.name).toMatch(/^trainingRuns\/sae-[0-9a-f]{12}$/);
    const { run: done } = await follow(client, run?.name ?? "", succeeded);
    const { trainingRun: first } = await client.getTrainingRun({ name: "trainingRuns/first" });
    expect(done.tokensHarvested).toBe(first?.tokensHarvested);
    expect(done.weightsSha256).not.toBe(first?.weightsSha256);
    const { trainingRuns } = await client.listTrainingRuns({ pageSize: 1 });
    expect(trainingRuns.map(({ name }) => name)).toEqual([run?.name]);
  });

  it("keeps checkpoints that can be exported", async () => {
    const client = trainingClient(training);
    const { checkpoints } = await client.listCheckpoints({ parent: "trainingRuns/first" });
    expect(checkpoints.map(({ step }) => step)).toEqual([200n, 180n]);
    const { trainingRun: first } = await client.getTrainingRun({ name: "trainingRuns/first" });
    const { operation } = await client.exportCheckpoint({ name: checkpoints[0]?.name ?? "" });
    const done = await operationClient(training).waitOperation({ name: operation?.name ?? "", timeout: { seconds: 60n } });
    const { result } = done.operation ?? {};
    const exported = fromBinary(ExportedSaeSchema, result?.case === "response" ? result.value.value : new Uint8Array());
    // The last checkpoint holds the weights that the run wrote.
    expect(exported.weightsSha256).toBe(first?.weightsSha256);
    expect(JSON.parse(await readFile(join(exported.saeUri, "cfg.json"), "utf8"))).toMatchObject({ d_sae: 256, architecture: "topk" });
  });

  it("answers EvaluateSae with the figures that the run found", async () => {
    const client = trainingClient(training);
    const { trainingRun: first } = await client.getTrainingRun({ name: "trainingRuns/first" });
    const { operation } = await client.evaluateSae({ sae: "models/demo/saes/first", corpus: { uri: system.corpus } });
    const done = await operationClient(training).waitOperation({ name: operation?.name ?? "", timeout: { seconds: 60n } });
    expect(done.operation?.state).toBe(OperationState.SUCCEEDED);
    const { result } = done.operation ?? {};
    const evaluation = fromBinary(SaeEvaluationSchema, result?.case === "response" ? result.value.value : new Uint8Array());
    expect(evaluation.nTokens).toBe(first?.evaluation?.nTokens);
    expect(evaluation.fvu).toBeCloseTo(first?.evaluation?.fvu ?? 0, 6);
    expect(evaluation.ceRecovered).toBeCloseTo(first?.evaluation?.ceRecovered ?? 0, 6);
  });

  it("pauses with a checkpoint, resumes, and is stopped for good", async () => {
    const client = trainingClient(training);
    const name = "trainingRuns/paused";
    await client.createTrainingRun({ trainingRunId: "paused", config: system.config({ trainingTokens: 20_480_000n, checkpointEverySteps: 100_000 }) });
    await follow(client, name, (run) => run.step > 20n);
    await client.pauseTrainingRun({ name });
    const { run: paused } = await follow(client, name, (run) => run.state === TrainingRunState.PAUSED);
    const { checkpoints } = await client.listCheckpoints({ parent: name });
    expect(checkpoints[0]?.step).toBeGreaterThan(20n);
    await client.resumeTrainingRun({ name });
    const { run: resumed } = await follow(client, name, (run) => run.state === TrainingRunState.RUNNING && run.step > (checkpoints[0]?.step ?? 0n));
    expect(resumed.attempts).toBe(paused.attempts + 1);
    const { trainingRun: stopped } = await client.stopTrainingRun({ name });
    expect(stopped?.state).toBe(TrainingRunState.STOPPED);
    await expect(client.resumeTrainingRun({ name })).rejects.toMatchObject({ code: Code.FailedPrecondition, reason: "RUN_STOPPED" });
  });

  it("streams the metrics that it kept after a restart of the service", async () => {
    await training.stop();
    training = await system.training("training");
    const { run, metrics } = await follow(trainingClient(training), "trainingRuns/first", succeeded, 150n);
    expect(metrics.map(({ step }) => Number(step))).toEqual(Array.from({ length: 50 }, (_, at) => 151 + at));
    expect(run.weightsSha256).toMatch(/^[0-9a-f]{64}$/);
  });
});

describe("a request that cannot be met", () => {
  it.each([
    ["hook_name", { hookName: "blocks.99.hook_resid_pre" }, "blocks.0.hook_resid_pre"],
    ["corpus.uri", { corpus: { uri: "/no/such/corpus.jsonl" } }, "nothing to read"],
    ["corpus.uri", { corpus: { uri: "" } }, "got nothing"],
    ["k", { k: 257 }, "got 257, wanted 1 to 256"],
    ["k", { k: 0 }, "topk needs k"],
    ["l1_coefficient", { l1Coefficient: 2 }, "topk takes no l1_coefficient"],
    ["k", { architecture: "jumprelu", kAux: undefined }, "jumprelu takes no k"],
    ["hook_name_out", { hookNameOut: "blocks.2.hook_resid_pre" }, "which is hook_name too"],
    ["hook_name_out", { hookNameOut: "blocks.99.hook_mlp_out" }, "blocks.0.hook_resid_pre"],
    ["skip_connection", { skipConnection: true }, "only a transcoder"],
    ["d_sae", { dSae: 0 }, "got 0"],
    ["d_sae", { dSae: 4_000_000 }, "GiB"],
    ["context_size", { contextSize: 100_000 }, "got 100000"],
    ["architecture", { architecture: "topq" }, "got topq"],
    ["normalize_activations", { normalizeActivations: "z_score" }, "got z_score"],
    ["training_tokens", { trainingTokens: 10n }, "got 10"],
    ["lr_decay_steps", { lrDecaySteps: 100_000 }, "warm-up and decay"],
    ["adam_beta1", { adamBeta1: 1.5 }, "1.5"],
    ["init_from", { initFrom: "/no/such/sae" }, "/no/such/sae"],
    ["extra.l1_coefficient", { extra: { l1_coefficient: 2 } }, "got 2"],
  ])("names %s", async (field, over, message) => {
    const request = trainingClient(training).createTrainingRun({ trainingRunId: "bad", config: system.config(over) });
    await expect(request).rejects.toMatchObject({ code: Code.InvalidArgument, message: expect.stringContaining(message), violations: [{ field: `config.${field}` }] });
    expect(existsSync(join(system.root, "training/runs/bad"))).toBe(false);
  });

  it("checks without starting when asked to", async () => {
    const client = trainingClient(training);
    const { trainingRun } = await client.createTrainingRun({ trainingRunId: "draft", config: system.config({ threads: 0 }), validateOnly: true });
    expect(trainingRun?.config).toMatchObject({ lr: 1e-3, adamBeta2: 0.999, threads: 2, architecture: "topk", evalTokens: 200_000n });
    await expect(client.getTrainingRun({ name: "trainingRuns/draft" })).rejects.toMatchObject({ code: Code.NotFound });
  });

  it("fails the run, not the service, when the corpus is damaged", async () => {
    const client = trainingClient(training);
    const corpus = join(system.root, "damaged.jsonl");
    await writeFile(corpus, Buffer.concat([await readFile(system.corpus), Buffer.from('{"text":"'), Buffer.from([0xff]), Buffer.from('"}\n')]));
    await client.createTrainingRun({ trainingRunId: "damaged", config: system.config({ corpus: { uri: corpus } }) });
    const { run } = await follow(client, "trainingRuns/damaged", (now) => now.state === TrainingRunState.FAILED);
    expect(run.stateDetail).toContain("damaged.jsonl:601 is not UTF-8");
  });
});

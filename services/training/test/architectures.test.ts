import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { TrainingRunState, type TrainingRun } from "@mistral-sae/contracts/mistral_sae/training/v1/training";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { follow, operationClient, succeeded, System, trainingClient, type Child, type ConfigInit } from "./system.ts";

let system: System;
let training: Child;

beforeAll(async () => {
  system = await System.start();
  training = await system.training("architectures");
});
afterAll(async () => {
  await training.stop();
  await system.close();
});

/** System.config() without what only topk and its like take. */
function config(over: ConfigInit): ConfigInit {
  const { k: _k, kAux: _kAux, ...common } = system.config({ trainingTokens: 256n * 600n, evalTokens: 1000n, checkpointEverySteps: 10_000 });
  return { ...common, ...over };
}

const penalised = { l1Coefficient: 0.5, l1WarmUpSteps: 20, resampleEverySteps: 100 };

const kinds: Readonly<Record<string, ConfigInit>> = {
  standard: { architecture: "standard", ...penalised },
  gated: { architecture: "gated", ...penalised },
  jumprelu: { architecture: "jumprelu", l0Coefficient: 0.1, l0WarmUpSteps: 20, preActLossCoefficient: 1e-6 },
  abstopk: { architecture: "abstopk", k: 8, kAux: 16 },
  batchtopk: { architecture: "batchtopk", k: 8, kAux: 16, kStart: 32, kAnnealSteps: 50 },
  matryoshka_batchtopk: { architecture: "matryoshka_batchtopk", k: 8, kAux: 16, matryoshkaWidths: [32, 128] },
  signum: { architecture: "topk", k: 8, kAux: 16, optimizer: 3, normalizeActivations: "covariance_whitening" },
  transcoder: { architecture: "batchtopk", k: 8, kAux: 16, hookName: "blocks.1.hook_resid_mid", hookNameOut: "blocks.1.hook_mlp_out", skipConnection: true },
};

describe("a run of each architecture", () => {
  it.each(Object.entries(kinds))("%s is paused, cancelled and resumed, and ends with the weights of an undisturbed run", { timeout: 120_000 }, async (kind, over) => {
    const client = trainingClient(training);
    const id = kind.replaceAll("_", "-");
    await client.createTrainingRun({ trainingRunId: `${id}-calm`, config: config(over) });
    const { run: calm, metrics } = await follow(client, `trainingRuns/${id}-calm`, succeeded);

    const name = `trainingRuns/${id}-disturbed`;
    await client.createTrainingRun({ trainingRunId: `${id}-disturbed`, config: config(over) });
    await follow(client, name, (run) => run.step > 5n);
    await client.pauseTrainingRun({ name });
    const { run: paused } = await follow(client, name, (run) => run.state === TrainingRunState.PAUSED);
    await client.resumeTrainingRun({ name });
    await follow(client, name, (run) => run.state === TrainingRunState.RUNNING && run.step > paused.step);
    await operationClient(training).cancelOperation({ name: `operations/training/${id}-disturbed` });
    await follow(client, name, (run) => run.state === TrainingRunState.PAUSED);
    await client.resumeTrainingRun({ name });
    const { run } = await follow(client, name, succeeded);
    expect(run.weightsSha256).toBe(calm.weightsSha256);
    expect(run.evaluation?.fvu).toBe(calm.evaluation?.fvu);
    expect(run.evaluation?.fvu).toBeLessThan(1);
    await checkFacts(calm, kind, over);
    const { topkThreshold, sparsityLoss } = metrics.at(-1) ?? {};
    expect((topkThreshold ?? 0) > 0).toBe(kind === "batchtopk" || kind === "matryoshka_batchtopk" || kind === "transcoder");
    expect((sparsityLoss ?? 0) > 0).toBe(over.l1Coefficient !== undefined || over.l0Coefficient !== undefined);
  });

  it("goes on from the weights of one of the same kind, and refuses another's", { timeout: 60_000 }, async () => {
    const client = trainingClient(training);
    const { trainingRun } = await client.getTrainingRun({ name: "trainingRuns/standard-calm" });
    const initFrom = trainingRun?.saeUri ?? "";
    await client.createTrainingRun({ trainingRunId: "standard-more", config: config({ ...kinds["standard"], initFrom, seed: 3n }) });
    const { metrics } = await follow(client, "trainingRuns/standard-more", succeeded);
    expect(metrics[0]?.fvu).toBeLessThan(0.9);
    const other = client.createTrainingRun({ config: config({ ...kinds["gated"], initFrom }) });
    await expect(other).rejects.toMatchObject({ violations: [{ field: "config.init_from" }], message: expect.stringContaining("another architecture") });
  });
});

/** What the stored configuration and the exported SAE say of the run. */
async function checkFacts(run: TrainingRun, kind: string, over: ConfigInit): Promise<void> {
  expect(run.config).toMatchObject({ architecture: over.architecture, extra: {} });
  const cfg = JSON.parse(await readFile(join(run.saeUri, "cfg.json"), "utf8")) as { metadata: Record<string, unknown> };
  expect(cfg.metadata).toMatchObject({ training_architecture: over.architecture, hook_name: over.hookName ?? "blocks.2.hook_resid_pre" });
  expect(run.config).toMatchObject(stored[kind] ?? {});
  expect(cfg.metadata).toMatchObject(told[kind] ?? {});
  // Where the output is no residual, or the engine does not run the SAE, the reconstruction alone is measured, and that is said.
  const spliced = kind !== "transcoder" && kind !== "abstopk";
  expect(run.evaluation?.ceSae !== undefined).toBe(spliced);
  expect(run.warnings.join("\n").includes("cross-entropy")).toBe(!spliced);
}

/** Defaults that the stored configuration names. */
const stored: Readonly<Record<string, object>> = { jumprelu: { jumpreluBandwidth: 0.05, jumpreluSparsityLossMode: "step", decoderInitNorm: 0.3, mseScale: 192 } };

/** What the exported SAE says. */
const told: Readonly<Record<string, object>> = {
  jumprelu: { training_architecture_details: { l0_coefficient: 0.1, l0_warm_up_steps: 20, jumprelu_bandwidth: 0.05 } },
  matryoshka_batchtopk: { training_architecture_details: { matryoshka_widths: [32, 128, 256], k: 8 } },
  transcoder: { hook_name_out: "blocks.1.hook_mlp_out" },
};

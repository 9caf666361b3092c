import { readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { TrainingRun } from "@mistral-sae/contracts/mistral_sae/training/v1/training";
import { Code } from "@mistral-sae/rpc";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { follow, succeeded, System, trainingClient, type ConfigInit } from "./system.ts";

let system: System;

beforeAll(async () => {
  system = await System.start();
});
afterAll(async () => {
  await system.close();
});

/** Two epochs and a half of a corpus of some 50,000 rows, in groups of some 5,000. */
function config(over: ConfigInit = {}): ConfigInit {
  return system.config({ streamActivations: true, bufferTokens: 11_000n, trainingTokens: 128_000n, evalTokens: 2000n, ...over });
}

const BUDGET = 8_000_000n;

async function serving<T>(data: string, use: (client: ReturnType<typeof trainingClient>) => Promise<T>): Promise<T> {
  const training = await system.training(data);
  try {
    return await use(trainingClient(training));
  } finally {
    await training.stop();
  }
}

async function trained(data: string, over: ConfigInit, id = "run"): Promise<TrainingRun> {
  return await serving(data, async (client) => {
    await client.createTrainingRun({ trainingRunId: id, config: config(over) });
    return (await follow(client, `trainingRuns/${id}`, succeeded)).run;
  });
}

/** Bytes of the rows that a service has stored. */
async function storedBytes(data: string): Promise<number> {
  const root = join(system.root, data, "activations");
  const files = await readdir(root, { recursive: true }).catch(() => []);
  const sizes = files.filter((file) => file.endsWith(".rows")).map(async (file) => (await stat(join(root, file)).catch(() => undefined))?.size ?? 0);
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
}

let streamed: TrainingRun;
let budgeted: TrainingRun;

describe("a run that trains while it harvests", () => {
  it("begins before the harvest has ended and keeps every shard for others", { timeout: 120_000 }, async () => {
    await serving("streamed", async (client) => {
      await client.createTrainingRun({ trainingRunId: "run", config: config() });
      const { run: early } = await follow(client, "trainingRuns/run", (run) => run.step > 0n);
      streamed = (await follow(client, "trainingRuns/run", succeeded)).run;
      expect(early.tokensHarvested).toBeLessThan(streamed.tokensHarvested);
    });
    expect(streamed.tokensHarvested).toBeGreaterThan(45_000n);
    expect(Object.keys(streamed.stageSeconds).sort()).toEqual(["evaluate", "harvest", "train"]);
    const before = await storedBytes("streamed");
    await trained("streamed", { streamActivations: false, trainingTokens: 25_600n }, "whole");
    expect(await storedBytes("streamed")).toBe(before);
  });

  it("has the same weights when every shard was there before", { timeout: 120_000 }, async () => {
    expect((await trained("streamed", {}, "again")).weightsSha256).toBe(streamed.weightsSha256);
  });

  it("stays within its disk budget, reading the corpus again each epoch, and leaves nothing behind", { timeout: 120_000 }, async () => {
    let most = 0;
    const watch = setInterval(() => void storedBytes("budgeted").then((bytes) => (most = Math.max(most, bytes))), 20);
    budgeted = await trained("budgeted", { activationDiskBytes: BUDGET });
    clearInterval(watch);
    expect(most).toBeGreaterThan(4_000_000);
    expect(most).toBeLessThanOrEqual(Number(BUDGET));
    expect(await storedBytes("budgeted")).toBe(0);
    expect(budgeted.step).toBe(500n);
    expect(budgeted.tokensHarvested).toBe(streamed.tokensHarvested);
  });

  it("has the same weights within another budget that its buffer fits", { timeout: 120_000 }, async () => {
    const run = await trained("roomy", { activationDiskBytes: 100_000_000n });
    expect(run.weightsSha256).toBe(budgeted.weightsSha256);
  });

  it.each<[string, ConfigInit, string]>([
    ["activation_disk_bytes", { activationDiskBytes: 100_000n }, "got 100000, wanted at least"],
    ["activation_disk_bytes", { activationDiskBytes: BUDGET, bufferTokens: 20_000n }, "for a buffer_tokens of 20000"],
    ["buffer_tokens", { bufferTokens: 3000n }, "got 3000, wanted at least"],
  ])("is refused with the numbers by %s", async (field, over, message) => {
    await serving("refused", async (client) => {
      const request = client.createTrainingRun({ config: config(over) });
      await expect(request).rejects.toMatchObject({ code: Code.InvalidArgument, message: expect.stringContaining(message), violations: [{ field: `config.${field}` }] });
    });
  });
});

describe("kill -9 of a run that trains while it harvests", () => {
  it.each([0n, BUDGET])("costs nothing but time, with a disk budget of %i", { timeout: 300_000 }, async (activationDiskBytes) => {
    const data = `killed-${activationDiskBytes}`;
    const name = "trainingRuns/run";
    const instants: readonly ((run: TrainingRun) => boolean)[] = [
      (run) => run.tokensHarvested > 0n,
      (run) => run.step > 3n,
      (run) => run.step > 70n,
      (run) => run.step > 230n,
      (run) => run.step > 400n,
    ];
    for (const [at, instant] of instants.entries()) {
      const training = await system.training(data);
      if (at === 0) await trainingClient(training).createTrainingRun({ trainingRunId: "run", config: config({ activationDiskBytes }) });
      await follow(trainingClient(training), name, instant);
      await training.kill();
    }
    const training = await system.training(data);
    const { run } = await follow(trainingClient(training), name, succeeded);
    await training.stop();
    expect(run.weightsSha256).toBe((activationDiskBytes === 0n ? streamed : budgeted).weightsSha256);
    expect(run.attempts).toBe(instants.length + 1);
  });
});

describe("a damaged shard", () => {
  // A shard of another length is seen before it is read, and nothing is said of it.
  it.each([
    ["flipped", /shard 3 of activationSets\/[0-9a-f]+ was damaged and is harvested again/],
    ["cut", /^$/],
    ["gone", /^$/],
  ])("that is %s is harvested again", { timeout: 120_000 }, async (damage, warning) => {
    const root = join(system.root, "streamed", "activations");
    const shards = (await readdir(root, { recursive: true })).filter((file) => file.endsWith("shard-000003.rows"));
    expect(shards).toHaveLength(1);
    const path = join(root, shards[0] ?? "");
    const bytes = await readFile(path);
    if (damage === "flipped") await writeFile(path, Buffer.from(bytes).fill((bytes[1000] ?? 0) ^ 1, 1000, 1001));
    else await writeFile(path, bytes.subarray(0, damage === "cut" ? bytes.length - 1 : 0));
    const run = await trained("streamed", {}, `mended-${damage}`);
    expect(run.weightsSha256).toBe(streamed.weightsSha256);
    expect(await readFile(path)).toEqual(bytes);
    expect(run.warnings.filter((text) => text.includes("damaged")).join()).toMatch(warning);
  });
});

import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fromBinary, type MessageInitShape } from "@bufbuild/protobuf";
import { DataType } from "@mistral-sae/contracts/mistral_sae/common/v1/tensor";
import { OperationState } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";
import { ActivationSetSchema, TrainingRunState, type ActivationSet, type ImportActivationsRequest, type ImportActivationsRequestSchema, type TrainingRun } from "@mistral-sae/contracts/mistral_sae/training/v1/training";
import { Code } from "@mistral-sae/rpc";
import { loadSae } from "@mistral-sae/sae";
import { bytesFromF32, writeSafetensors } from "@mistral-sae/tensor";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { follow, operationClient, succeeded, System, trainingClient, type Child, type ConfigInit } from "./system.ts";

const WIDTH = 24;
const OUT = 16;
const ROWS = 20_000;

let system: System;
let training: Child;
let folder: string;

beforeAll(async () => {
  system = await System.start(60);
  training = await system.training("training");
  folder = join(system.root, "rows");
  await mkdir(folder);
  for (const [name, width] of [["in", WIDTH], ["out", OUT]] as const) {
    const all = rowsOf(width);
    // Cut at other rows for inputs and outputs.
    const cuts = name === "in" ? [0, 7000, ROWS] : [0, 11_000, ROWS];
    for (let part = 0; part < 2; part += 1) {
      const [from, to] = [cuts[part] ?? 0, cuts[part + 1] ?? 0];
      const data = bytesFromF32("F32", all.slice(from * width, to * width));
      await writeSafetensors(join(folder, `${name}-${part}.safetensors`), { x: { dtype: "F32", shape: [to - from, width], data } });
    }
  }
});
afterAll(async () => {
  await training.stop();
  await system.close();
});

/** Sums of a few of some fixed directions, without randomness from outside. */
function rowsOf(width: number): Float32Array {
  let state = 1;
  const next = (): number => (state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0) / 2 ** 32;
  const directions = Array.from({ length: 40 }, () => Float32Array.from({ length: width }, () => next() - 0.5));
  const rows = new Float32Array(ROWS * width);
  for (let row = 0; row < ROWS; row += 1) {
    for (let part = 0; part < 3; part += 1) {
      const direction = directions[Math.floor(next() * 40)] ?? new Float32Array(width);
      for (let at = 0; at < width; at += 1) rows[row * width + at] = (rows[row * width + at] ?? 0) + (direction[at] ?? 0);
    }
  }
  return rows;
}

type Request = Exclude<MessageInitShape<typeof ImportActivationsRequestSchema>, ImportActivationsRequest>;

async function imported(request: Request): Promise<ActivationSet> {
  const { operation } = await trainingClient(training).importActivations(request);
  const { operation: done } = await operationClient(training).waitOperation({ name: operation?.name ?? "", timeout: { seconds: 60n } });
  expect(done?.state).toBe(OperationState.SUCCEEDED);
  return fromBinary(ActivationSetSchema, done?.result.case === "response" ? done.result.value.value : new Uint8Array());
}

function config(over: ConfigInit = {}): ConfigInit {
  return { dSae: 128, k: 4, kAux: 8, trainBatchSizeTokens: 256, trainingTokens: 25_600n, lr: 1e-3, checkpointEverySteps: 40, threads: 2, hookName: "blocks.1.hook_resid_pre", ...over };
}

async function trained(id: string, over: ConfigInit): Promise<TrainingRun> {
  const client = trainingClient(training);
  await client.createTrainingRun({ trainingRunId: id, config: config(over) });
  return (await follow(client, `trainingRuns/${id}`, succeeded)).run;
}

let set: ActivationSet;
let outSet: ActivationSet;

describe("an import", () => {
  it("stores the rows of a glob as a set, once", async () => {
    set = await imported({ uri: join(folder, "in-*.safetensors"), hookName: "blocks.1.hook_resid_pre", model: "models/elsewhere" });
    expect(set).toMatchObject({ hookName: "blocks.1.hook_resid_pre", width: WIDTH, tokens: BigInt(ROWS), shards: 3 });
    expect(set.name).toMatch(/^activationSets\/[0-9a-f]{24}$/);
    expect(await imported({ uri: join(folder, "in-*.safetensors"), hookName: "blocks.1.hook_resid_pre", model: "models/elsewhere" })).toMatchObject({ name: set.name });
    outSet = await imported({ uri: join(folder, "out-*.safetensors"), hookName: "blocks.2.hook_mlp_out", activationDtype: DataType.BF16 });
    expect(outSet.sizeBytes).toBeLessThan(set.sizeBytes);
    const { activationSets, totalBytes, nextPageToken } = await trainingClient(training).listActivationSets({ pageSize: 1 });
    expect(activationSets).toHaveLength(1);
    expect(totalBytes).toBe(set.sizeBytes + outSet.sizeBytes);
    const { activationSets: rest } = await trainingClient(training).listActivationSets({ pageSize: 1, pageToken: nextPageToken });
    expect([...activationSets, ...rest].map(({ name }) => name).sort()).toEqual([set.name, outSet.name].sort());
  });

  it.each<[string, Request, string]>([
    ["uri", { uri: "/no/such/rows.npy" }, "no such file"],
    ["uri", { uri: "" }, "a file, folder or glob"],
    ["activation_dtype", { activationDtype: DataType.I32 }, "wanted BF16, F16 or F32"],
  ])("names %s of what it refuses", async (field, request, message) => {
    const call = trainingClient(training).importActivations({ uri: join(folder, "in-0.safetensors"), ...request });
    await expect(call).rejects.toMatchObject({ code: Code.InvalidArgument, message: expect.stringContaining(message), violations: [{ field }] });
  });

  it("names the file that does not fit", async () => {
    await expect(trainingClient(training).importActivations({ uri: folder })).rejects.toMatchObject({ message: expect.stringContaining("out-0.safetensors") });
  });
});

describe("a run on ready rows", () => {
  it("gives the same weights from files and from the set that they were imported to", { timeout: 60_000 }, async () => {
    const files = await trained("files", { activations: join(folder, "in-*.safetensors") });
    const { metrics } = files;
    expect(metrics?.fvu).toBeLessThan(0.9);
    expect(files.tokensHarvested).toBe(BigInt(ROWS));
    expect(files.warnings.join()).toContain("not evaluated");
    expect(Object.keys(files.stageSeconds).sort()).toEqual(["evaluate", "train"]);
    const { sae } = await loadSae(files.saeUri);
    expect(sae.config).toMatchObject({ dIn: WIDTH, dSae: 128, metadata: { hook_name: "blocks.1.hook_resid_pre" } });
    const stored = await trained("stored", { activations: set.name, hookName: "" });
    expect(stored.weightsSha256).toBe(files.weightsSha256);
    expect((await loadSae(stored.saeUri)).sae.config.metadata).toMatchObject({ hook_name: "blocks.1.hook_resid_pre" });
  });

  it("trains a transcoder on rows whose outputs lie in other files", { timeout: 60_000 }, async () => {
    const pair = { hookNameOut: "blocks.2.hook_mlp_out", normalizeActivations: "none", architecture: "batchtopk" };
    const run = await trained("transcoder", { activations: join(folder, "in-*.safetensors"), activationsOut: join(folder, "out-*.safetensors"), ...pair });
    const { sae } = await loadSae(run.saeUri);
    expect(sae.config).toMatchObject({ dIn: WIDTH, dOut: OUT });
    // Rows of one width fit the form of sparsify, which has topk transcoders.
    const same = await trained("topk-transcoder", { ...pair, architecture: "topk", activations: set.name, activationsOut: set.name });
    expect((await loadSae(same.saeUri)).sae.config).toMatchObject({ architecture: "topk", dIn: WIDTH, dOut: WIDTH });
    await trained("transcoder-sets", { activations: set.name, activationsOut: outSet.name, ...pair });
  });

  it.each<[string, ConfigInit, string]>([
    ["activations", { activations: "activationSets/none" }, "does not exist"],
    ["activations", { activations: "/no/such.npy" }, "no such file"],
    ["activations_out", { activationsOut: "/no/such.npy" }, "without activations"],
    ["architecture", { activations: "IN", activationsOut: "OUT", hookNameOut: "blocks.2.hook_mlp_out" }, "from 24 to 16"],
    ["corpus.uri", { activations: "IN", corpus: { uri: "/some/text.jsonl" } }, "nothing beside activations"],
    ["stream_activations", { activations: "IN", streamActivations: true }, "nothing beside activations"],
  ])("is refused by %s", async (field, over, message) => {
    const files = (uri: string | undefined): string => (uri ?? "").replace(/^(IN|OUT)$/, (name) => join(folder, `${name.toLowerCase()}-*.safetensors`));
    const whole = { ...over, activations: files(over.activations), activationsOut: files(over.activationsOut) };
    const call = trainingClient(training).createTrainingRun({ config: config(whole) });
    await expect(call).rejects.toMatchObject({ code: Code.InvalidArgument, message: expect.stringContaining(message), violations: [{ field: `config.${field}` }] });
  });

  it("fails with the file named when an imported shard is damaged", { timeout: 60_000 }, async () => {
    const path = join(set.uri, "shard-000001.rows");
    const bytes = await readFile(path);
    const damaged = Buffer.from(bytes);
    damaged[100] = (damaged[100] ?? 0) ^ 4;
    await writeFile(path, damaged);
    const client = trainingClient(training);
    await client.createTrainingRun({ trainingRunId: "damaged", config: config({ activations: set.name, seed: 7n }) });
    const { run } = await follow(client, "trainingRuns/damaged", (now) => now.state === TrainingRunState.FAILED);
    expect(run.stateDetail).toContain("shard-000001.rows");
    await writeFile(path, bytes);
  });
});

describe("deleting a set", () => {
  it("is refused while a run that has not ended reads it", { timeout: 60_000 }, async () => {
    const client = trainingClient(training);
    await expect(client.deleteActivationSet({ name: set.name })).rejects.toMatchObject({ code: Code.FailedPrecondition, reason: "SET_IN_USE", message: expect.stringContaining("trainingRuns/damaged") });
    await client.stopTrainingRun({ name: "trainingRuns/damaged" });
    await client.deleteActivationSet({ name: set.name });
    await expect(client.deleteActivationSet({ name: set.name })).rejects.toMatchObject({ code: Code.NotFound });
    expect(await readdir(set.uri).catch(() => [])).toEqual([]);
    const { activationSets } = await client.listActivationSets({});
    expect(activationSets.map(({ name }) => name)).toEqual([outSet.name]);
  });

  it("needs the files again to resume a run on them", async () => {
    const client = trainingClient(training);
    await rm(join(folder, "in-1.safetensors"));
    await expect(client.createTrainingRun({ config: config({ activations: join(folder, "in-1.safetensors") }) })).rejects.toMatchObject({ code: Code.InvalidArgument });
  });
});

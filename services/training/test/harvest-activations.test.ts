import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { fromBinary, type MessageInitShape } from "@bufbuild/protobuf";
import { ShardSet, type ActivationSource } from "@mistral-sae/activations";
import { DataType } from "@mistral-sae/contracts/mistral_sae/common/v1/tensor";
import { OperationState, type Operation } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";
import { HarvestedActivationsSchema, type HarvestActivationsRequest, type HarvestActivationsRequestSchema, type HarvestedActivations } from "@mistral-sae/contracts/mistral_sae/training/v1/training";
import { Code } from "@mistral-sae/rpc";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { follow, operationClient, succeeded, System, trainingClient, type Child } from "./system.ts";

const HOOKS = ["blocks.2.hook_resid_pre", "blocks.1.mlp.hook_post", "blocks.1.attn.hook_k"];

let system: System;
let training: Child;
let whole: HarvestedActivations;

beforeAll(async () => {
  system = await System.start();
  training = await system.training("together");
  whole = await harvest(training, { hookNames: HOOKS });
});
afterAll(async () => {
  await training.stop();
  await system.close();
});

type Request = Exclude<MessageInitShape<typeof HarvestActivationsRequestSchema>, HarvestActivationsRequest>;

async function start(child: Child, request: Request): Promise<string> {
  const { operation } = await trainingClient(child).harvestActivations({ corpus: { uri: system.corpus }, contextSize: 64, ...request });
  return operation?.name ?? "";
}

async function ended(child: Child, name: string): Promise<Operation | undefined> {
  return (await operationClient(child).waitOperation({ name, timeout: { seconds: 120n } })).operation;
}

function outcome(operation: Operation | undefined): HarvestedActivations {
  if (operation?.result.case !== "response") throw new Error(`the harvest ended in state ${operation?.state}`);
  return fromBinary(HarvestedActivationsSchema, operation.result.value.value);
}

async function harvest(child: Child, request: Request): Promise<HarvestedActivations> {
  return outcome(await ended(child, await start(child, request)));
}

/** SHA-256 of every file that a service has stored, by path. */
async function stored(data: string): Promise<Record<string, string>> {
  const root = join(system.root, data, "activations");
  const files = (await readdir(root, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile() && entry.name !== "used");
  const named = files.map(async ({ parentPath, name }) => {
    const path = join(parentPath, name);
    return [path.slice(root.length + 1), createHash("sha256").update(await readFile(path)).digest("hex")] as const;
  });
  return Object.fromEntries(await Promise.all(named));
}

async function shardSet(uri: string): Promise<ShardSet> {
  const source = JSON.parse(await readFile(join(uri, "source.json"), "utf8")) as ActivationSource;
  return new ShardSet({ kind: "fs", root: join(uri, "..") }, uri.split("/").at(-1) ?? "", source);
}

describe("a harvest of several hooks", () => {
  it("leaves a set of shards for each, with its own width and the same tokens row by row", async () => {
    expect(whole).toMatchObject({ model: "models/demo", contextSize: 64 });
    expect(whole.activationSets.map(({ hookName, width }) => [hookName, width])).toEqual([[HOOKS[0], 192], [HOOKS[1], 512], [HOOKS[2], 64]]);
    const [first] = whole.activationSets;
    expect(first?.tokens).toBeGreaterThan(51_000n);
    expect(first?.shards).toBeGreaterThan(10);
    const places: unknown[] = [];
    for (const { uri, tokens, shards, hookName, width } of whole.activationSets) {
      expect([tokens, shards]).toEqual([first?.tokens, first?.shards]);
      const set = await shardSet(uri);
      expect(set.source).toMatchObject({ hookName, width, dtype: "BF16" });
      const records = await set.finished();
      expect(records).toHaveLength(shards);
      for (const { index, rows, sha256 } of records) {
        const bytes = (await readFile(join(uri, "..", set.rowsKey(index)))).subarray(0, rows * width * 2);
        expect(createHash("sha256").update(bytes).digest("hex")).toBe(sha256);
        expect(bytes.some((byte) => byte !== 0)).toBe(true);
      }
      places.push(await Promise.all(records.map((record) => set.places(record))));
    }
    expect(places[1]).toEqual(places[0]);
    expect(places[2]).toEqual(places[0]);
  });

  it("stores what a harvest of each alone does", { timeout: 120_000 }, async () => {
    const alone = await system.training("alone");
    for (const hookName of HOOKS) await harvest(alone, { hookNames: [hookName] });
    await alone.stop();
    expect(await stored("alone")).toEqual(await stored("together"));
  });

  it("is what a training run at one of its hooks reads", { timeout: 120_000 }, async () => {
    const before = await stored("together");
    const client = trainingClient(training);
    await client.createTrainingRun({ trainingRunId: "reader", config: system.config({ hookName: HOOKS[0] ?? "" }) });
    const { run } = await follow(client, "trainingRuns/reader", succeeded);
    expect(run.tokensHarvested).toBeGreaterThanOrEqual(51_200n);
    expect(await stored("together")).toEqual(before);
  });

  it("goes on from what each hook has already, and stops at the rows wanted", { timeout: 120_000 }, async () => {
    const grown = await system.training("grown");
    const part = await harvest(grown, { hookNames: HOOKS.slice(0, 1), tokens: 10_000n });
    expect(part.activationSets[0]?.tokens).toBeGreaterThanOrEqual(10_000n);
    expect(part.activationSets[0]?.tokens).toBeLessThan(20_000n);
    await harvest(grown, { hookNames: HOOKS.slice(1, 2), tokens: 20_000n });
    const all = await harvest(grown, { hookNames: HOOKS });
    await grown.stop();
    expect(all.activationSets.map(({ tokens }) => tokens)).toEqual(whole.activationSets.map(({ tokens }) => tokens));
    expect(await stored("grown")).toEqual(await stored("together"));
  });

  it("is the same when asked for again", async () => {
    const request = { hookNames: HOOKS, requestId: "again" };
    const name = await start(training, request);
    expect(await start(training, request)).toBe(name);
    expect(outcome(await ended(training, name))).toEqual(whole);
  });
});

describe("kill -9 of the training service in a harvest of several hooks", () => {
  it("loses and repeats nothing of any hook", { timeout: 300_000 }, async () => {
    let killed = await system.training("killed");
    const name = await start(killed, { hookNames: HOOKS });
    let seen = 0n;
    for (const tokens of [0n, 12_000n, 24_000n, 36_000n]) {
      for await (const { operation } of operationClient(killed).watchOperation({ name })) {
        seen = operation?.progress?.doneUnits ?? 0n;
        if (seen > tokens) break;
      }
      expect(seen).toBeGreaterThan(tokens);
      await killed.kill();
      killed = await system.training("killed");
    }
    const operation = await ended(killed, name);
    await killed.stop();
    expect(operation).toMatchObject({ state: OperationState.SUCCEEDED, attempts: 5 });
    expect(outcome(operation).activationSets.map(({ hookName, tokens, shards }) => [hookName, tokens, shards])).toEqual(whole.activationSets.map(({ hookName, tokens, shards }) => [hookName, tokens, shards]));
    expect(await stored("killed")).toEqual(await stored("together"));
  });
});

describe("a harvest that cannot be made", () => {
  it.each<[string, Request, string]>([
    ["hook_names", { hookNames: [] }, "got none"],
    ["hook_names[1]", { hookNames: [HOOKS[0] ?? "", "blocks.99.hook_resid_pre"] }, "blocks.0.hook_resid_pre"],
    ["hook_names[1]", { hookNames: [HOOKS[0] ?? "", HOOKS[0] ?? ""] }, "twice"],
    ["corpus.uri", { hookNames: HOOKS, corpus: { uri: "" } }, "got nothing"],
    ["corpus.uri", { hookNames: HOOKS, corpus: { uri: "/no/such/corpus.jsonl" } }, "nothing to read"],
    ["context_size", { hookNames: HOOKS, contextSize: 100_000 }, "got 100000"],
    ["activation_dtype", { hookNames: HOOKS, activationDtype: DataType.I32 }, "wanted BF16, F16 or F32"],
    ["tokens", { hookNames: HOOKS, tokens: 2n ** 60n }, "at most"],
  ])("names %s", async (field, request, message) => {
    await expect(start(training, request)).rejects.toMatchObject({ code: Code.InvalidArgument, message: expect.stringContaining(message), violations: [{ field }] });
  });
});

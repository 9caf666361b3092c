import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { fromBinary, type MessageInitShape } from "@bufbuild/protobuf";
import { OperationService, OperationState, type Operation } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";
import { SaeService, ValidationPolicy } from "@mistral-sae/contracts/mistral_sae/sae/v1/sae";
import { ProbeTaskKind, SaeProbingSchema, type ProbeSaeRequest, type ProbeSaeRequestSchema, type SaeProbing } from "@mistral-sae/contracts/mistral_sae/training/v1/probe";
import { corpusDir, demoModelDir } from "@mistral-sae/demo-model";
import { Code, createClient } from "@mistral-sae/rpc";
import { Random, writeSae, type SaeWeights } from "@mistral-sae/sae";
import { openWeights } from "@mistral-sae/tensor";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { operationClient, System, trainingClient, type Child } from "./system.ts";

const HOOK = "hook_embed";
const TOKENS = "models/demo/saes/tokens";
const RANDOM = "models/demo/saes/random";
const KINDS = [ProbeTaskKind.WORD, ProbeTaskKind.LETTER, ProbeTaskKind.POSITION];

let system: System;
let training: Child;

beforeAll(async () => {
  system = await System.start(1);
  training = await system.training("probing");
  await register("tokens", await tokenSae());
  await register("random", randomSae());
});
afterAll(async () => {
  await training.stop();
  await system.close();
});

function saeOf(wEnc: Float32Array, wDec: Float32Array, dSae: number, over: Partial<SaeWeights>, config: Partial<SaeWeights["config"]>): SaeWeights {
  const dIn = wEnc.length / dSae;
  return {
    config: { architecture: "jumprelu", dIn, dSae, dtype: "float32", applyBDecToInput: false, normalizeActivations: "none", reshapeActivations: "none", rescaleActsByDecoderNorm: false, metadata: { hook_name: HOOK, context_size: 64 }, ...config },
    wEnc,
    bEnc: new Float32Array(dSae),
    wDec,
    bDec: new Float32Array(dIn),
    ...over,
  };
}

/** An SAE of the model's embedding with a feature for every token of the vocabulary. */
async function tokenSae(): Promise<SaeWeights> {
  const weights = await openWeights(demoModelDir);
  const wDec = await weights.readF32("model.embed_tokens.weight");
  const dIn = 192;
  const dSae = wDec.length / dIn;
  const wEnc = wDec.slice();
  for (let at = 0; at < wEnc.length; at += dIn) {
    const row = wEnc.subarray(at, at + dIn);
    const squares = row.reduce((sum, value) => sum + value * value, 0) || 1;
    for (let column = 0; column < dIn; column += 1) row[column] = (row[column] ?? 0) / squares;
  }
  await weights.close();
  return saeOf(wEnc, wDec, dSae, { threshold: new Float32Array(dSae).fill(0.97) }, {});
}

function randomSae(): SaeWeights {
  const random = new Random(5);
  const wEnc = Float32Array.from({ length: 512 * 192 }, () => random.uniform(-0.1, 0.1));
  return saeOf(wEnc, wEnc.slice(), 512, {}, { architecture: "topk", k: 16 });
}

async function register(id: string, sae: SaeWeights): Promise<void> {
  const uri = join(system.root, id);
  await mkdir(uri);
  await writeSae(uri, sae);
  const { operation } = await createClient(SaeService, system.inferenceAddress).createSae({ parent: "models/demo", saeId: id, uri, validate: ValidationPolicy.SKIP });
  const operations = createClient(OperationService, system.inferenceAddress);
  const { operation: done } = await operations.waitOperation({ name: operation?.name ?? "", timeout: { seconds: 60n } });
  expect(done?.state).toBe(OperationState.SUCCEEDED);
}

type Request = Exclude<MessageInitShape<typeof ProbeSaeRequestSchema>, ProbeSaeRequest>;

async function start(child: Child, request: Request): Promise<string> {
  const { operation } = await trainingClient(child).probeSae({ sae: TOKENS, corpus: { uri: corpusDir }, tokens: 60_000n, kinds: KINDS, ks: [1, 5], maxTasks: 8, ...request });
  return operation?.name ?? "";
}

async function ended(child: Child, name: string): Promise<Operation | undefined> {
  return (await operationClient(child).waitOperation({ name, timeout: { seconds: 120n } })).operation;
}

function outcome(operation: Operation | undefined): SaeProbing {
  if (operation?.result.case !== "response") throw new Error(`probing ended in state ${operation?.state}`);
  return fromBinary(SaeProbingSchema, operation.result.value.value);
}

const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;

describe("probing an SAE with a feature for every token", () => {
  let found: SaeProbing;
  beforeAll(async () => {
    found = outcome(await ended(training, await start(training, { absorption: true, requestId: "whole" })));
  });
  const of = (kind: ProbeTaskKind): SaeProbing["tasks"] => found.tasks.filter((task) => task.kind === kind);

  it("finds the feature of each frequent word: one is enough but for words that are capitalised often", () => {
    expect(of(ProbeTaskKind.WORD)).toHaveLength(8);
    expect(of(ProbeTaskKind.WORD).filter(({ accuracyByK }) => (accuracyByK[1] ?? 0) > 0.97).length).toBeGreaterThanOrEqual(4);
    for (const { name, accuracyByK, features, nTrain, nTest } of of(ProbeTaskKind.WORD)) {
      expect([name, (accuracyByK[5] ?? 0) > 0.97]).toEqual([name, true]);
      expect(features).toHaveLength(5);
      expect(nTrain).toBeLessThanOrEqual(2000n);
      expect(nTest).toBeLessThanOrEqual(1000n);
    }
  });

  it("has no feature for a letter, but all features together tell it", () => {
    expect(of(ProbeTaskKind.LETTER).length).toBeGreaterThan(4);
    expect(mean(of(ProbeTaskKind.LETTER).map(({ accuracyByK }) => accuracyByK[1] ?? 0))).toBeLessThan(0.7);
    expect(mean(of(ProbeTaskKind.LETTER).map(({ saeAccuracy }) => saeAccuracy))).toBeGreaterThan(0.9);
  });

  it("tells nothing of a token's place: neither do the model's embeddings", () => {
    for (const { name, residualAccuracy, accuracyByK } of of(ProbeTaskKind.POSITION).filter(({ name: band }) => band !== "position:0-7")) {
      expect([name, residualAccuracy < 0.65, (accuracyByK[5] ?? 1) < 0.65]).toEqual([name, true, true]);
    }
  });

  it("finds letters absorbed by the features of tokens", () => {
    const { absorption } = found;
    expect(absorption?.letters.length).toBeGreaterThan(4);
    expect(absorption?.meanFullAbsorption).toBeGreaterThan(0.2);
    expect(absorption?.meanAbsorptionFraction).toBeGreaterThan(0.2);
    for (const { splitFeatures, absorbingFeatures } of absorption?.letters ?? []) {
      expect(splitFeatures.length).toBeGreaterThan(0);
      expect(absorbingFeatures.filter((feature) => splitFeatures.includes(feature))).toEqual([]);
    }
  });

  it("gives means over tasks, and the tokens read", () => {
    expect(found.meanAccuracyByK[1]).toBeCloseTo(mean(found.tasks.map(({ accuracyByK }) => accuracyByK[1] ?? 0)), 12);
    expect(found.meanResidualAccuracy).toBeCloseTo(mean(found.tasks.map(({ residualAccuracy }) => residualAccuracy)), 12);
    expect(found.nTokens).toBeGreaterThan(40_000n);
    expect(found.nTokens).toBeLessThan(62_000n);
  });

  it("is the same when the service is killed on the way, and when it is asked for again", async () => {
    let killed = await system.training("killed-probing");
    const name = await start(killed, { absorption: true });
    for await (const { operation } of operationClient(killed).watchOperation({ name })) if (operation?.progress?.stage === "run") break;
    await killed.kill();
    killed = await system.training("killed-probing");
    const operation = await ended(killed, name);
    await killed.stop();
    expect(operation).toMatchObject({ state: OperationState.SUCCEEDED, attempts: 2 });
    expect(outcome(operation)).toEqual(found);
  });

  it("holds another SAE against the same tokens: random directions tell letters worse", async () => {
    const random = outcome(await ended(training, await start(training, { sae: RANDOM })));
    expect(random.tasks.map(({ name, residualAccuracy }) => [name, residualAccuracy])).toEqual(found.tasks.map(({ name, residualAccuracy }) => [name, residualAccuracy]));
    const letters = ({ tasks }: SaeProbing): number => mean(tasks.filter(({ kind }) => kind === ProbeTaskKind.LETTER).map(({ saeAccuracy }) => saeAccuracy));
    expect(letters(random)).toBeLessThan(letters(found) - 0.02);
  });

  it("frees the service when it is cancelled", async () => {
    const name = await start(training, { seed: 9n, tokens: 400_000n });
    for await (const { operation } of operationClient(training).watchOperation({ name })) if (operation?.progress?.stage === "run") break;
    await operationClient(training).cancelOperation({ name });
    expect((await ended(training, name))?.state).toBe(OperationState.CANCELLED);
    const next = await start(training, { kinds: [ProbeTaskKind.POSITION], tokens: 20_000n });
    expect((await ended(training, next))?.state).toBe(OperationState.SUCCEEDED);
  });
});

describe("probing that cannot be done", () => {
  it.each<[string, Request, string]>([
    ["sae", { sae: "demo" }, "models/{model}/saes/{sae}"],
    ["corpus.uri", { corpus: { uri: "" } }, "got nothing"],
    ["kinds[0]", { kinds: [ProbeTaskKind.UNSPECIFIED] }, "wanted WORD"],
    ["ks[1]", { ks: [1, 0] }, "got 0"],
    ["tokens", { tokens: 0n }, "got 0"],
    ["max_tasks", { maxTasks: 0 }, "got 0"],
    ["absorption", { absorption: true, kinds: [ProbeTaskKind.WORD] }, "LETTER among kinds"],
  ])("names %s", async (field, request, message) => {
    await expect(start(training, request)).rejects.toMatchObject({ code: Code.InvalidArgument, message: expect.stringContaining(message), violations: [{ field }] });
  });

  it.each<[string, Request, string]>([
    ["more features than there are", { ks: [600], sae: RANDOM }, "d_sae 512"],
    ["a window longer than the model reads", { contextSize: 100_000 }, "got 100000"],
    ["too few tokens", { tokens: 100n, kinds: [ProbeTaskKind.LETTER] }, "give more text"],
    ["an SAE that is not there", { sae: "models/demo/saes/none" }, "does not exist"],
  ])("fails the operation: %s", async (_, request, message) => {
    const operation = await ended(training, await start(training, request));
    expect(operation?.result).toMatchObject({ case: "error", value: { message: expect.stringContaining(message) } });
  });

  it("says when no text is held back", async () => {
    const operation = await ended(training, await start(training, { corpus: { uri: system.corpus } }));
    expect(operation?.result).toMatchObject({ case: "error", value: { message: expect.stringContaining("held back") } });
  });
});

import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { fromBinary } from "@bufbuild/protobuf";
import { OperationService, OperationState } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";
import { SaeService, ValidationPolicy } from "@mistral-sae/contracts/mistral_sae/sae/v1/sae";
import { SaeEvaluationSchema, type SaeEvaluation } from "@mistral-sae/contracts/mistral_sae/training/v1/training";
import { corpusDir } from "@mistral-sae/demo-model";
import { createClient } from "@mistral-sae/rpc";
import { Random, writeSae, type SaeWeights } from "@mistral-sae/sae";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { operationClient, System, trainingClient, type Child } from "./system.ts";

const D = 192;
const H = 256;

let system: System;
let training: Child;

beforeAll(async () => {
  system = await System.start(1);
  training = await system.training("kinds");
});
afterAll(async () => {
  await training.stop();
  await system.close();
});

const random = new Random(3);
const noise = (count: number, size: number): Float32Array => Float32Array.from({ length: count }, () => random.uniform(-size, size));

function saeOf(architecture: SaeWeights["config"]["architecture"], hookName: string, over: Partial<SaeWeights> = {}): SaeWeights {
  const wEnc = noise(H * D, 0.1);
  const config = { architecture, dIn: D, dSae: H, dtype: "float32" as const, applyBDecToInput: false, normalizeActivations: "none" as const, reshapeActivations: "none" as const, rescaleActsByDecoderNorm: false, metadata: { hook_name: hookName, context_size: 64 } };
  return { config, wEnc, bEnc: new Float32Array(H), wDec: wEnc.slice(), bDec: new Float32Array(D), ...over };
}

/** Registers an SAE and evaluates it on some tokens. */
async function evaluated(id: string, sae: SaeWeights): Promise<{ readonly evaluation: SaeEvaluation; readonly warnings: readonly string[] }> {
  const uri = join(system.root, id);
  await mkdir(uri);
  await writeSae(uri, sae);
  const { operation } = await createClient(SaeService, system.inferenceAddress).createSae({ parent: "models/demo", saeId: id, uri, validate: ValidationPolicy.SKIP });
  const registered = await createClient(OperationService, system.inferenceAddress).waitOperation({ name: operation?.name ?? "", timeout: { seconds: 60n } });
  expect(registered.operation?.state).toBe(OperationState.SUCCEEDED);
  const { operation: work } = await trainingClient(training).evaluateSae({ sae: `models/demo/saes/${id}`, corpus: { uri: corpusDir }, evalTokens: 4000n });
  const { operation: done } = await operationClient(training).waitOperation({ name: work?.name ?? "", timeout: { seconds: 60n } });
  if (done?.result.case !== "response") throw new Error(`the evaluation ended in state ${done?.state}`);
  return { evaluation: fromBinary(SaeEvaluationSchema, done.result.value.value), warnings: done.progress?.warnings ?? [] };
}

describe("an evaluation", () => {
  it("measures an SAE of an inner hook, which cannot be written, without cross-entropy, and says so", async () => {
    const { evaluation, warnings } = await evaluated("inner", saeOf("standard", "blocks.1.hook_mlp_out"));
    expect(evaluation.nTokens).toBeGreaterThan(3900n);
    expect(evaluation.fvu).toBeGreaterThan(0);
    expect(evaluation.ceClean).toBeUndefined();
    expect(evaluation.klSae).toBeUndefined();
    expect(warnings).toEqual([expect.stringContaining("blocks.1.hook_mlp_out cannot be written")]);
  });

  it("splices in an SAE with thresholds and counts what it makes of the text", async () => {
    const { evaluation, warnings } = await evaluated("jump", { ...saeOf("jumprelu", "blocks.2.hook_resid_pre"), threshold: new Float32Array(H).fill(0.5) });
    expect(warnings).toEqual([]);
    expect(evaluation.ceSae).toBeGreaterThan(evaluation.ceClean ?? Infinity);
    expect(evaluation.l1).toBeGreaterThan(evaluation.l0 * 0.5 * 0.5);
  });
});

import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { demoModelDir } from "@mistral-sae/demo-model";
import { openSafetensors } from "@mistral-sae/tensor";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Engine } from "../../src/engine.ts";
import { openEngine } from "../../src/index.ts";
import { collect, relativeDifference, residuals } from "../support/compare.ts";

/** What transformers computed for the demo model; see the fixture's own header fields. */
interface Golden {
  readonly prompts: readonly { readonly ids: number[]; readonly mean_nll: number; readonly top10: readonly { readonly id: number; readonly logit: number }[]; readonly greedy40_ids: number[]; readonly greedy_min_margin: number }[];
}

const fixture = (name: string): string => fileURLToPath(new URL(`../fixtures/${name}`, import.meta.url));
const golden = JSON.parse(await readFile(fixture("golden.json"), "utf8")) as Golden;
const tensors = await openSafetensors(fixture("golden.safetensors"));
const sequences = golden.prompts.map(({ ids }) => ({ tokens: Uint32Array.from(ids) }));

describe("the demo model against transformers", () => {
  let engine: Engine;
  beforeAll(async () => {
    engine = await openEngine({ modelDir: demoModelDir, threads: 2 });
  });
  afterAll(async () => {
    await engine.close();
    await tensors.close();
  });

  it("computes the same logits at every position", async () => {
    for (const [i, sequence] of sequences.entries()) {
      const { logits } = await engine.logits(sequence, { positions: "all" });
      expect(relativeDifference(logits, await tensors.readF32(`p${i}.logits`))).toBeLessThan(1e-5);
    }
  });

  it("computes the same residuals when ragged prompts share a batch", async () => {
    const found = await residuals(engine, sequences, { taps: [{ hook: "blocks.2.hook_resid_pre" }, { hook: "blocks.1.hook_resid_post" }] });
    for (const [i, [pre, post]] of found.entries()) {
      expect(relativeDifference(pre!, await tensors.readF32(`p${i}.hidden`))).toBeLessThan(1e-5);
      expect(post).toEqual(pre);
    }
  });

  it("computes the same residual at every layer", async () => {
    const taps = Array.from({ length: 4 }, (_, layer) => ({ hook: `blocks.${layer}.hook_resid_pre` }));
    const found = await residuals(engine, sequences, { taps });
    for (const [i, layers] of found.entries()) {
      for (const [layer, rows] of layers.entries()) {
        expect(relativeDifference(rows.slice(-192), await tensors.readF32(`p${i}.hs${layer}_last`))).toBeLessThan(1e-5);
      }
    }
  });

  it("finds the same likeliest tokens", async () => {
    for (const [i, sequence] of sequences.entries()) {
      const { topIds, topLogits } = await engine.logits(sequence, { topK: 10 });
      expect([...topIds]).toEqual(golden.prompts[i]!.top10.map(({ id }) => id));
      expect(relativeDifference(topLogits, golden.prompts[i]!.top10.map(({ logit }) => logit))).toBeLessThan(1e-5);
    }
  });

  it("gives the same mean loss", async () => {
    const batches = await collect(engine.score(sequences));
    for (const { sequences: indices, offsets, logprobs } of batches) {
      for (const [i, index] of indices.entries()) {
        const scores = logprobs.subarray(offsets[i], offsets[i + 1]);
        expect(scores.length).toBe(sequences[index]!.tokens.length - 1);
        expect(-scores.reduce((a, b) => a + b, 0) / scores.length).toBeCloseTo(golden.prompts[index]!.mean_nll, 4);
      }
    }
  });

  it("decodes the same 40 greedy tokens, all prompts in one batch", async () => {
    const { slots, tokens } = await engine.prefill(sequences);
    const texts = [...tokens].map((token) => [token]);
    for (let step = 1; step < 40; step++) {
      const next = await engine.decode(slots.map((slot) => ({ slot })));
      for (const [i, token] of next.tokens.entries()) texts[i]!.push(token);
    }
    await engine.free(slots);
    for (const [i, prompt] of golden.prompts.entries()) {
      expect(prompt.greedy_min_margin).toBeGreaterThan(1e-3);
      expect(texts[i]).toEqual(prompt.greedy40_ids);
    }
  });

  it("describes itself", () => {
    const { hooks, ...info } = engine.info;
    expect(info).toMatchObject({
      architecture: "MistralForCausalLM",
      nLayers: 4,
      dModel: 192,
      nHeads: 6,
      nKeyValueHeads: 2,
      dHead: 32,
      dMlp: 512,
      dVocab: 4096,
      nCtx: 512,
      storedDtypes: ["F16"],
      parameters: 3_147_456,
      bosTokenId: 1,
      eosTokenIds: [2],
      threads: 2,
    });
    expect(info.digest).toMatch(/^[0-9a-f]{64}$/);
    expect(info.backend).toMatch(/^onnxruntime \d+\.\d+\.\d+ cpu$/);
    expect(hooks.filter((hook) => hook.writable).map((hook) => hook.hookName)).toEqual(["hook_embed", ...[0, 1, 2, 3].flatMap((l) => ["pre", "mid", "post"].map((at) => `blocks.${l}.hook_resid_${at}`))]);
    expect(hooks.every((hook) => hook.readable && hook.writable === (hook.refusalReason === ""))).toBe(true);
  });
});

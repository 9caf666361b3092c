import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Edit, type Engine, type ForwardBatch, openEngine } from "../../src/index.ts";
import { relativeDifference, tokensOf } from "../support/compare.ts";
import { ReferenceModel } from "../support/reference-model.ts";
import { tinyConfig, writeTinyModel } from "../support/tiny-model.ts";

const inner = ["attn.hook_q", "attn.hook_k", "attn.hook_v", "attn.hook_z", "hook_attn_out", "hook_resid_mid", "mlp.hook_post", "hook_mlp_out"];
const readOnly = [...inner.flatMap((name) => [0, 1, 2].map((layer) => `blocks.${layer}.${name}`)), "hook_embed", "ln_final.hook_normalized"];

async function one(batches: AsyncIterable<ForwardBatch>): Promise<ForwardBatch> {
  for await (const batch of batches) return batch;
  throw new Error("no batch came");
}

describe.each([["heads as wide as the operator's", 16], ["narrower heads", 8], ["heads of an odd number of pairs", 6]])("hooks of a model with %s", (_, headDim) => {
  let model: Awaited<ReturnType<typeof writeTinyModel>>;
  let reference: ReferenceModel;
  let engine: Engine;
  const tokens = tokensOf(19, tinyConfig.vocab_size);

  beforeAll(async () => {
    model = await writeTinyModel({ config: { head_dim: headDim } });
    reference = await ReferenceModel.open(model.modelDir);
    engine = await openEngine({ modelDir: model.modelDir, threads: 1 });
  });

  afterAll(async () => {
    await engine.close();
    await model[Symbol.asyncDispose]();
  });

  it("read every value alone and all of them in one pass, as wide as they say", async () => {
    const wanted = reference.forward([...tokens]).inner;
    const { residuals } = await one(engine.forward([{ tokens }], { taps: readOnly.map((hook) => ({ hook })) }));
    for (const [i, hook] of readOnly.entries()) {
      const alone = await one(engine.forward([{ tokens }], { taps: [{ hook }] }));
      const width = engine.info.hooks.find(({ hookName }) => hookName === hook)?.width;
      expect([hook, residuals[i]!.length]).toEqual([hook, tokens.length * (width ?? 0)]);
      expect(relativeDifference(residuals[i]!, wanted.get(hook)!.flat()), hook).toBeLessThan(1e-5);
      expect(alone.residuals[0], hook).toEqual(residuals[i]);
    }
  });

  it("read them in slots, the prompt's rows and each row that is fed", async () => {
    const wanted = reference.forward([...tokens]).inner;
    const taps = readOnly.map((hook) => ({ hook }));
    const start = await engine.prefill([{ tokens: tokens.slice(0, 12) }], { taps });
    const rows = start.residuals.map((values) => [...values]);
    for (let position = 12; position < tokens.length; position++) {
      const step = await engine.decode([{ slot: start.slots[0]!, token: tokens[position]! }], { taps });
      for (const [i, values] of step.residuals.entries()) rows[i]!.push(...values);
    }
    for (const [i, hook] of readOnly.entries()) expect(relativeDifference(Float32Array.from(rows[i]!), wanted.get(hook)!.flat()), hook).toBeLessThan(1e-5);
    await engine.free(start.slots);
  });

  it("write the residual between attention and MLP, and leave the rest of the model as it is", async () => {
    const direction = Float32Array.from({ length: tinyConfig.hidden_size }, (_, i) => Math.sin(i));
    const edits: Edit[] = [{ id: "mid", hook: "blocks.1.hook_resid_mid", method: "add", direction, strength: 2 }];
    const wanted = reference.forward([...tokens], (point, rows) => {
      if (point === 1.5) for (const row of rows) for (const [i, value] of direction.entries()) row[i]! += 2 * value;
    });
    const taps = ["blocks.1.hook_attn_out", "blocks.1.hook_resid_mid", "blocks.1.mlp.hook_post", "blocks.2.attn.hook_z"].map((hook) => ({ hook, afterEdits: true }));
    const { residuals, proofs } = await one(engine.forward([{ tokens, edits }], { taps }));
    for (const [i, { hook }] of taps.entries()) expect(relativeDifference(residuals[i]!, wanted.inner.get(hook)!.flat()), hook).toBeLessThan(1e-5);
    expect(proofs[0]).toMatchObject([{ id: "mid", promptRows: tokens.length }]);
    const { logits } = await engine.logits({ tokens, edits }, { positions: "all" });
    expect(relativeDifference(logits, wanted.logits.flat())).toBeLessThan(1e-5);
  });
});

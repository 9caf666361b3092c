import { describe, expect, it } from "vitest";
import { openEngine } from "../../src/index.ts";
import { relativeDifference, residuals, tokensOf } from "../support/compare.ts";
import { ReferenceModel } from "../support/reference-model.ts";
import { tinyConfig, writeTinyModel, type TinyOptions } from "../support/tiny-model.ts";

const variants: Record<string, TinyOptions> = {
  "a plain model": {},
  "fp16 weights": { dtype: "F16" },
  "bf16 weights": { dtype: "BF16" },
  "two shards": { shards: 2 },
  "tied embeddings": { config: { tie_word_embeddings: true }, dtype: "F16" },
  "a head width of its own": { config: { head_dim: 16 } },
  "a sliding window": { config: { sliding_window: 5 } },
  "a rope base of its own": { config: { rope_theta: 1_000_000 } },
  "rope_parameters as transformers 5 writes them": { config: { rope_theta: undefined, rope_parameters: { rope_type: "default", rope_theta: 500 } } },
  "as many key-value heads as query heads": { config: { num_key_value_heads: 4 } },
};

describe.each(Object.entries(variants))("%s", (_, options) => {
  it("equals the formulas in double precision, whole and step by step", async () => {
    await using model = await writeTinyModel(options);
    const reference = await ReferenceModel.open(model.modelDir);
    const tokens = tokensOf(23, tinyConfig.vocab_size);
    const wanted = reference.forward([...tokens]);
    const engine = await openEngine({ modelDir: model.modelDir, threads: 1 });
    try {
      const { logits } = await engine.logits({ tokens }, { positions: "all" });
      expect(relativeDifference(logits, wanted.logits.flat())).toBeLessThan(1e-5);

      const hooks = ["blocks.0.hook_resid_pre", "blocks.1.hook_resid_pre", "blocks.2.hook_resid_pre", "blocks.2.hook_resid_post"];
      const [found] = await residuals(engine, [{ tokens }], { taps: hooks.map((hook) => ({ hook })) });
      for (const [point, rows] of found!.entries()) expect(relativeDifference(rows, wanted.residuals[point]!.flat())).toBeLessThan(1e-5);

      const start = await engine.prefill([{ tokens: tokens.slice(0, 9) }], { withLogits: true });
      expect(relativeDifference(start.logits, wanted.logits[8]!)).toBeLessThan(1e-5);
      for (let position = 9; position < tokens.length; position++) {
        const step = await engine.decode([{ slot: start.slots[0]!, token: tokens[position]! }], { withLogits: true });
        expect(relativeDifference(step.logits, wanted.logits[position]!)).toBeLessThan(1e-5);
      }
    } finally {
      await engine.close();
    }
  });
});

it("a sliding window shorter than the chunks of a long prompt equals the formulas", async () => {
  await using model = await writeTinyModel({ config: { sliding_window: 40 } });
  const reference = await ReferenceModel.open(model.modelDir);
  const tokens = tokensOf(300, tinyConfig.vocab_size);
  const wanted = reference.forward([...tokens]).logits;
  const engine = await openEngine({ modelDir: model.modelDir, threads: 1 });
  try {
    const { slots, logits } = await engine.prefill([{ tokens: tokens.slice(0, 299) }], { withLogits: true });
    expect(relativeDifference(logits, wanted[298]!)).toBeLessThan(1e-5);
    const step = await engine.decode([{ slot: slots[0]!, token: tokens[299]! }], { withLogits: true });
    expect(relativeDifference(step.logits, wanted[299]!)).toBeLessThan(1e-5);
  } finally {
    await engine.close();
  }
});

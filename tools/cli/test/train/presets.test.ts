import { describe, expect, it } from "vitest";
import { fitPreset, presetNamed, withPreset } from "../../src/train/presets.ts";

const preset = presetNamed("mistral-7b-layer16");

describe("mistral-7b-layer16", () => {
  it("is the original's configuration on the model that it was made for", () => {
    const { options, changes } = fitPreset(preset, { dModel: 4096, nLayers: 32, nCtx: 32_768 });
    expect(changes).toEqual([]);
    expect(options).toMatchObject({ formulation: "seed_compat", architecture: "topk", hookName: "blocks.16.hook_resid_post", dSae: 131_072, k: 128, kAux: 2048, normalizeActivations: "layer_norm", contextSize: 256, batchTokens: 1024, deadTokens: 1e7, optimizer: "adamw", weightDecay: 0.01 });
    // The trainer's own rule is the original's: 2e-4 / sqrt(d_sae / 2^14).
    expect(options.lr).toBeUndefined();
  });

  it("keeps its ratios on another model, and says what changed and why", () => {
    const { options, changes } = fitPreset(preset, { dModel: 192, nLayers: 4, nCtx: 128 });
    expect(options).toMatchObject({ hookName: "blocks.2.hook_resid_post", dSae: 6144, k: 6, kAux: 96, contextSize: 128, trainingTokens: 2_197_266, deadTokens: 21_973 });
    expect(changes).toContain("d_sae 131,072 -> 6,144 (32 times d_in, which is 192 here)");
    expect(changes).toContain("context_size 256 -> 128 (the model's longest context)");
    expect(changes).toHaveLength(7);
  });

  it("names no hook for rows from files", () => {
    expect(fitPreset(preset, { dModel: 64 }).options.hookName).toBeUndefined();
  });
});

describe("withPreset", () => {
  const { options: fitted } = fitPreset(preset, { dModel: 192, nLayers: 4 });

  it("lets what was asked for go first", () => {
    expect(withPreset({ k: 32, hookName: "blocks.1.hook_resid_pre" }, fitted)).toMatchObject({ k: 32, hookName: "blocks.1.hook_resid_pre", dSae: 6144 });
  });

  it("takes a length in other words, and another formulation with its own optimiser", () => {
    expect(withPreset({ steps: 10 }, fitted).trainingTokens).toBeUndefined();
    const gao = withPreset({ formulation: "gao" }, fitted);
    expect(gao).toMatchObject({ formulation: "gao", kAux: 96, normalizeActivations: "layer_norm" });
    expect([gao.weightDecay, gao.optimizer]).toEqual([undefined, undefined]);
  });

  it("refuses a preset that is not there", () => {
    expect(() => presetNamed("gpt2")).toThrow("no preset is called gpt2");
  });
});

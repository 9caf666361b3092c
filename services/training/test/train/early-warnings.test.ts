import type { TrainerMetrics } from "@mistral-sae/sae";
import { describe, expect, it } from "vitest";
import { EarlyWarnings, startOfWatch, type WatchedConfig } from "../../src/train/early-warnings.ts";

const metrics = (step: number, loss: number, deadFraction = 0): TrainerMetrics => ({ step, loss, deadFraction, nTrainingTokens: step, mseLoss: loss, auxLoss: 0, fvu: loss, l0: 1, numDead: 0, gradNorm: 1, lr: 1, sparsityLoss: 0, topkThreshold: undefined, nResampled: 0 });

const topk: WatchedConfig = { architecture: "topk", dIn: 64, dSae: 1024, k: 2, kAnnealSteps: 0, lrWarmUpSteps: 0, l0WarmUpSteps: 0, l1WarmUpSteps: 0 };

function watch(steps: readonly TrainerMetrics[], config = topk): { readonly said: string[]; readonly watch: EarlyWarnings } {
  const said: string[] = [];
  const warnings = new EarlyWarnings(startOfWatch, config, (text) => said.push(text));
  for (const step of steps) warnings.observe(step);
  return { said, watch: warnings };
}

const calm = Array.from({ length: 300 }, (_, at) => metrics(at + 1, 0.2));

describe("EarlyWarnings", () => {
  it("says nothing of a calm run", () => {
    expect(watch(calm).said).toEqual([]);
  });

  it("tells of a jump of the loss, a few times at most", () => {
    expect(watch([...calm, metrics(301, 1)]).said).toEqual(["the loss jumped at step 301: 1.000 where 0.2000 was usual"]);
    expect(watch([...calm, ...Array.from({ length: 30 }, (_, at) => metrics(301 + at, 50 ** (at + 1)))]).said).toHaveLength(5);
  });

  it("tells of dying latents at each level once", () => {
    expect(watch([metrics(1, 1, 0.05), metrics(2, 1, 0.3), metrics(3, 1, 0.2), metrics(4, 1, 0.3), metrics(5, 1, 0.6)]).said).toEqual(["30.0% of the latents are dead at step 2", "60.0% of the latents are dead at step 5"]);
  });

  it("goes on from a saved state as if nothing had happened", () => {
    const { watch: before } = watch([...calm, metrics(301, 1)]);
    const said: string[] = [];
    new EarlyWarnings(JSON.parse(JSON.stringify(before.state)) as typeof before.state, topk, (text) => said.push(text)).observe(metrics(302, 1));
    expect(said).toHaveLength(1);
  });

  const sparse = (l0: number, over: Partial<TrainerMetrics> = {}): TrainerMetrics[] => Array.from({ length: 400 }, (_, at) => ({ ...metrics(at + 1, 0.2), l0, ...over }));

  it("tells once when most selected features are not positive, after the settling steps", () => {
    expect(watch(sparse(0.5)).said).toEqual(["L0 is 0.500 at step 201 where k is 2: most of the features selected are not positive"]);
    expect(watch(sparse(0.5), { ...topk, kAnnealSteps: 500 }).said).toEqual([]);
  });

  it("tells of a penalised SAE where hardly anything fires, or nearly everything", () => {
    const standard: WatchedConfig = { ...topk, architecture: "standard", k: 0 };
    expect(watch(sparse(20), standard).said).toEqual([]);
    expect(watch(sparse(0.2), standard).said).toEqual(["L0 is 0.200 at step 201: hardly any feature fires, a smaller l1_coefficient lets more of them"]);
    expect(watch(sparse(300), { ...standard, architecture: "jumprelu" }).said).toEqual(["L0 is 300 of 1024 features at step 201: that is hardly sparse, a larger l0_coefficient keeps fewer"]);
  });

  it("tells of a sparsity loss that leaves no room to reconstruct", () => {
    const gated: WatchedConfig = { ...topk, architecture: "gated", k: 0, l1WarmUpSteps: 100 };
    const [said, ...more] = watch(sparse(20, { fvu: 0.9, sparsityLoss: 2 }), gated).said;
    expect(said).toBe("the sparsity loss is 10.0 times the reconstruction loss at step 301, with 90% of the variance unexplained: a smaller l1_coefficient leaves room to reconstruct");
    expect(more).toEqual([]);
  });
});

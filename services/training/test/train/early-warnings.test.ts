import type { TrainerMetrics } from "@mistral-sae/sae";
import { describe, expect, it } from "vitest";
import { EarlyWarnings, startOfWatch } from "../../src/train/early-warnings.ts";

const metrics = (step: number, loss: number, deadFraction = 0): TrainerMetrics => ({ step, loss, deadFraction, nTrainingTokens: step, mseLoss: loss, auxLoss: 0, fvu: loss, l0: 1, numDead: 0, gradNorm: 1, lr: 1, sparsityLoss: 0, topkThreshold: undefined, nResampled: 0 });

function watch(steps: readonly TrainerMetrics[]): { readonly said: string[]; readonly watch: EarlyWarnings } {
  const said: string[] = [];
  const warnings = new EarlyWarnings(startOfWatch, (text) => said.push(text));
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
    new EarlyWarnings(JSON.parse(JSON.stringify(before.state)) as typeof before.state, (text) => said.push(text)).observe(metrics(302, 1));
    expect(said).toHaveLength(1);
  });
});

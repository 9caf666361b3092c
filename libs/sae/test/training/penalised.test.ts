import { describe, expect, it } from "vitest";
import type { TrainerConfig } from "../../src/training/config.ts";
import { HybridTrainer } from "../../src/training/hybrid-trainer.ts";
import type { SaeWeights } from "../../src/formats/weights.ts";
import { largestDifference } from "../support.ts";
import { mixtureRows } from "./data.ts";
import { type PenalisedParameters, PenalisedReference } from "./penalised-reference.ts";

type Options = Omit<TrainerConfig, "trainingTokens" | "trainBatchSizeTokens" | "dIn" | "dSae">;

interface Case {
  readonly name: string;
  readonly config: Options;
  /** Subtracted from every bias at the start: few features are active then, and lists of entries are used. */
  readonly sparse?: number;
  readonly shape?: readonly [d: number, h: number];
}

const [rows, steps] = [64, 10];
const cases: readonly Case[] = [
  { name: "standard with many active features", config: { architecture: "standard", l1Coefficient: 0.3 } },
  { name: "standard with few, warm-up and clipping", config: { architecture: "standard", l1Coefficient: 0.3, l1WarmUpSteps: 4, gradClipNorm: 0.5 }, sparse: 1.2 },
  { name: "standard with p below 1", config: { architecture: "standard", l1Coefficient: 0.05, lpNorm: 0.7 }, sparse: 1.6 },
  { name: "standard with the euclidean norm, dense, three threads", config: { architecture: "standard", l1Coefficient: 0.5, lpNorm: 2, threads: 3 } },
  { name: "gated with many active features", config: { architecture: "gated", l1Coefficient: 0.2 } },
  { name: "gated with few, clipped", config: { architecture: "gated", l1Coefficient: 0.2, gradClipNorm: 1 }, sparse: 1.2 },
  { name: "jumprelu, step, many active features", config: { architecture: "jumprelu", l0Coefficient: 0.02, jumpreluBandwidth: 0.2, jumpreluInitThreshold: 0.1 } },
  { name: "jumprelu, step, few, to the input too, with warm-up", config: { architecture: "jumprelu", l0Coefficient: 0.02, l0WarmUpSteps: 5, jumpreluBandwidth: 0.2, jumpreluInitThreshold: 0.1, jumpreluSteToInput: true }, sparse: 1.6 },
  { name: "jumprelu, tanh, few, with dead latents pulled up, shapes that no vector divides", config: { architecture: "jumprelu", jumpreluSparsityLossMode: "tanh", l0Coefficient: 0.05, jumpreluBandwidth: 0.3, jumpreluInitThreshold: 0.2, jumpreluSteToInput: true, preActLossCoefficient: 0.01, deadFeatureWindowTokens: 2 * rows }, sparse: 1.2, shape: [27, 93] },
  { name: "jumprelu, tanh, many active features, with dead latents pulled up", config: { architecture: "jumprelu", jumpreluSparsityLossMode: "tanh", l0Coefficient: 0.05, preActLossCoefficient: 0.01, deadFeatureWindowTokens: rows }, sparse: 0.2 },
];

/** The start as the trainer has it within: raw rows are not scaled in these tests. */
function parametersOf({ wEnc, bEnc, wDec, bDec, threshold, gate }: SaeWeights): Partial<Record<keyof PenalisedParameters, Float32Array>> {
  return { wEnc, bEnc: gate?.bGate ?? bEnc, wDec, bDec, ...(threshold === undefined ? {} : { threshold }), ...(gate === undefined ? {} : { rMag: gate.rMag, bMag: gate.bMag }) };
}

function withBias(sae: SaeWeights, shift: number): SaeWeights {
  const lower = (values: Float32Array): Float32Array => values.map((value, f) => value - shift * (0.5 + (f % 7) / 4));
  return sae.gate === undefined ? { ...sae, bEnc: lower(sae.bEnc) } : { ...sae, gate: { ...sae.gate, bGate: lower(sae.gate.bGate) } };
}

describe("penalised architectures against their formulas in f64", () => {
  it.each(cases)("$name", async ({ config, sparse = 0, shape: [d, h] = [24, 96] }) => {
    const data = mixtureRows(rows * steps, d, 5);
    // A larger ε keeps elements whose gradient is rounding noise from taking whole steps of Adam.
    const full: TrainerConfig = { threads: 2, lr: 2e-3, adamEpsilon: 1e-5, seed: 3, gradClipNorm: 0, decoderInitNorm: 0.4, bDecInitMethod: "mean", normalizeActivations: "none", ...config, dIn: d, dSae: h, trainBatchSizeTokens: rows, trainingTokens: rows * steps };
    const start = await (async () => {
      await using first = await HybridTrainer.create(full, { sample: data });
      return withBias(await first.weights(), sparse);
    })();
    await using trainer = await HybridTrainer.create(full, { sample: data, weights: start });
    const reference = new PenalisedReference(trainer.config, d, parametersOf(start));
    const densities = [];
    for (let step = 0; step < steps; step++) {
      const batch = data.subarray(step * rows * d, (step + 1) * rows * d);
      const [got, wanted] = [await trainer.step(batch), reference.step(batch)];
      densities.push(got.l0 / h);
      expect({ l0: got.l0, numDead: got.numDead }, `at step ${got.step}`).toEqual({ l0: wanted.l0, numDead: wanted.numDead });
      for (const name of ["mseLoss", "sparsityLoss", "auxLoss", "gradNorm"] as const) {
        expect(Math.abs(got[name] - wanted[name]) / Math.max(1, Math.abs(wanted[name])), `${name} at step ${got.step}`).toBeLessThan(1e-5);
      }
      expect(got.loss).toBeCloseTo(got.mseLoss + got.sparsityLoss + got.auxLoss, 10);
    }
    const got = parametersOf(await trainer.weights());
    for (const [name, values] of Object.entries(got)) {
      expect(largestDifference(values, Float32Array.from(reference.parameters[name as keyof PenalisedParameters])), name).toBeLessThan(2e-5);
    }
    expect(Math.min(...densities) < 1 / 16, "lists of entries were used").toBe(sparse >= 1);
  });
});

import { bf16FromF32, f16FromF32 } from "@mistral-sae/tensor";
import { describe, expect, it } from "vitest";
import { BatchWriter, learningRate, Random } from "../../src/index.ts";
import { compileKernels } from "../../src/training/kernels.ts";
import { resolveTrainerConfig } from "../../src/training/config.ts";
import { planLayout } from "../../src/training/layout.ts";
import { geometricMedian, measureSample } from "../../src/training/sample.ts";
import { TrainerMemory } from "../../src/training/trainer-memory.ts";
import { mixtureRows } from "./data.ts";

describe("the learning rate", () => {
  const schedule = { lr: 1, lrScheduler: "constant", lrWarmUpSteps: 4, lrDecaySteps: 4, totalSteps: 12 } as const;

  it("rises over the warm-up, stays, and falls to zero behind the last step", () => {
    expect(Array.from({ length: 13 }, (_, step) => learningRate(step, schedule))).toEqual([0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25, 0]);
  });

  it("falls over everything after the warm-up for linear and cosine without decay steps", () => {
    const linear = { ...schedule, lrScheduler: "linear", lrDecaySteps: 0 } as const;
    expect([4, 8, 11].map((step) => learningRate(step, linear))).toEqual([1, 0.5, 0.125]);
    expect(learningRate(8, { ...linear, lrScheduler: "cosine" })).toBeCloseTo(0.5, 12);
    expect(learningRate(6, { ...linear, lrScheduler: "cosine" })).toBeCloseTo((1 + Math.SQRT1_2) / 2, 12);
    // What SAELens' cosineannealing to zero printed for eight steps.
    const whole = { lr: 1, lrScheduler: "cosine", lrWarmUpSteps: 0, lrDecaySteps: 0, totalSteps: 8 } as const;
    expect(Array.from({ length: 9 }, (_, step) => Number(learningRate(step, whole).toFixed(6)))).toEqual([1, 0.96194, 0.853553, 0.691342, 0.5, 0.308658, 0.146447, 0.03806, 0]);
  });
});

describe("a sample", () => {
  it("gives the scale that brings rows to the mean norm √d, and the variance of the scaled rows", () => {
    const rows = Float32Array.of(3, 4, 0, 5, 5, 0, -3, -4);
    const { inputScale, mseScale, center } = measureSample(rows, { dIn: 2, normalizeActivations: "expected_average_only_in", bDecInitMethod: "mean" });
    expect(inputScale).toBeCloseTo(Math.SQRT2 / 5, 7);
    // Mean (1.25, 1.25), Σ of squares about it 87.5 over 8 values.
    expect(mseScale).toBeCloseTo(1 / ((87.5 / 8) * inputScale ** 2), 6);
    expect([...center]).toEqual([expect.closeTo(1.25 * inputScale, 6), expect.closeTo(1.25 * inputScale, 6)]);
  });

  it("has the geometric median of its rows, which an outlier does not move and a row may equal", () => {
    const rows = Float32Array.of(0, 0, 1, 0, -1, 0, 0, 1, 0, -1, 1000, 1000);
    const median = geometricMedian(rows, Float64Array.of(500 / 3, 500 / 3));
    expect(Math.hypot(...median)).toBeLessThan(0.5);
    expect(measureSample(rows, { dIn: 2, normalizeActivations: "none", bDecInitMethod: "zeros" }).center).toEqual(new Float64Array(2));
  });
});

describe("BatchWriter", () => {
  it.each([8, 13])("widens picked rows of every type exactly, %i columns wide", (d) => {
    const [n, batch] = [50, 12];
    const config = resolveTrainerConfig({ dIn: d, dSae: 4, k: 1, trainBatchSizeTokens: batch, trainingTokens: 100, threads: 1, rowStoreBytes: n * d * 4 });
    const memory = TrainerMemory.allocate(planLayout(config), compileKernels());
    const writer = new BatchWriter(memory.shared);
    const values = mixtureRows(n, d, 4);
    values.set([0, -0, 1e-7, -6e-8, 65504, -65504, Number.POSITIVE_INFINITY, 1e-5]);
    const stored = { F32: values, BF16: bf16FromF32(values, new Uint16Array(n * d)), F16: f16FromF32(values, new Uint16Array(n * d)) };
    const picks = Uint32Array.of(0, 49, 7, 7, 0);
    for (const dtype of ["F32", "BF16", "F16"] as const) {
      const { buffer, byteOffset, byteLength } = stored[dtype];
      writer.rowStore.set(new Uint8Array(buffer, byteOffset, byteLength));
      memory.slot(1).fill(0);
      writer.write(1, 3, { dtype, offset: 0, count: n }, picks);
      const exact = dtype === "F32" ? values : dtype === "F16" ? Float32Array.from(new Float16Array(stored.F16.buffer, stored.F16.byteOffset, n * d)) : Float32Array.from(stored.BF16, (bits) => new Float32Array(Uint32Array.of(bits << 16).buffer)[0]!);
      const stride = memory.layout.stride / 4;
      const slot = memory.slot(1);
      picks.forEach((pick, i) => expect(slot.subarray((3 + i) * stride, (3 + i) * stride + d), `${dtype} row ${i}`).toEqual(exact.subarray(pick * d, (pick + 1) * d)));
      // Padding, and rows that were not asked for, stay zero.
      expect(slot.filter((value, at) => value !== 0 && (at % stride >= d || at < 3 * stride || at >= 8 * stride))).toHaveLength(0);
    }
    expect(() => writer.write(0, 0, { dtype: "F32", offset: 0, count: n }, Uint32Array.of(n))).toThrow("no such stored row (field picks; got 50, wanted 0 to 49)");
    expect(() => writer.write(0, 10, { dtype: "F32", offset: 0, count: n }, picks)).toThrow("the rows do not fit the batch");
    expect(() => writer.write(0, 0, { dtype: "F32", offset: 4, count: n }, picks)).toThrow("outside the row store");
    expect(() => writer.write(2, 0, { dtype: "F32", offset: 0, count: n }, picks)).toThrow("no such batch slot");
  });
});

describe("Random", () => {
  it("gives the same numbers for a seed, others for another, and goes on from its state", () => {
    const [one, same, other] = [new Random(5), new Random(5), new Random(5 + 2 ** 32)];
    const numbers = Array.from({ length: 8 }, () => one.uniform(-1, 1));
    expect(Array.from({ length: 8 }, () => same.uniform(-1, 1))).toEqual(numbers);
    expect(Array.from({ length: 8 }, () => other.uniform(-1, 1))).not.toEqual(numbers);
    const copy = Random.from(one.state);
    expect(copy.nextUint32()).toBe(one.nextUint32());
    expect(numbers.every((value) => value >= -1 && value < 1)).toBe(true);
  });
});

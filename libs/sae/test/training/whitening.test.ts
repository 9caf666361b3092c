import { openSafetensors } from "@mistral-sae/tensor";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { HybridTrainer, LoopTrainer, Random, restoreNewestCheckpoint, SaeCodec, type SaeWeights, type TrainerConfig, type TrainerPort, writeCheckpoint } from "../../src/index.ts";
import { symmetricEigen } from "../../src/training/symmetric-eigen.ts";
import { measureWhitening, unfoldWhitening, whitenSample, whiteningOf } from "../../src/training/whitening.ts";
import { foldWhitening } from "../../src/formats/fold.ts";
import { fixture, largestDifference } from "../support.ts";
import { mixtureRows } from "./data.ts";

const [d, rows, steps] = [26, 128, 20];
const config: TrainerConfig = { dIn: d, dSae: 160, k: 4, kAux: 12, deadFeatureWindowTokens: 300, lr: 2e-3, adamEpsilon: 1e-6, normalizeActivations: "covariance_whitening", trainBatchSizeTokens: rows, trainingTokens: rows * steps, threads: 2, seed: 11 };
const names = ["wEnc", "bEnc", "wDec", "bDec"] as const;

/** Mixtures with one column far larger and one far smaller than the others. */
function skewedRows(n: number): Float32Array {
  const data = mixtureRows(n, d, 21);
  for (let at = 0; at < data.length; at += d) {
    data[at + 3]! *= 30;
    data[at + 7]! *= 0.05;
  }
  return data;
}
const data = skewedRows(rows * steps);
let root = "";
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "sae-whitening-"));
});
afterAll(() => rm(root, { recursive: true, force: true }));

async function train(trainer: TrainerPort, from: number, to: number): Promise<void> {
  for (let step = from; step < to; step++) await trainer.step(data.subarray(step * rows * d, (step + 1) * rows * d));
}

describe("a symmetric matrix's eigendecomposition", () => {
  it.each([1, 2, 3, 17, 64])("of %i rows gives back the matrix, with orthonormal vectors and rising values", (n) => {
    const random = new Random(n);
    const half = Float64Array.from({ length: n * n }, () => random.uniform(-1, 1));
    const matrix = Float64Array.from(half, (value, at) => value + half[(at % n) * n + Math.floor(at / n)]!);
    const { values, vectors } = symmetricEigen(matrix.slice(), n);
    expect([...values]).toEqual([...values].sort((one, other) => one - other));
    for (let i = 0; i < n; i++) {
      for (let j = 0; j < n; j++) {
        let [sum, inner] = [0, 0];
        for (let k = 0; k < n; k++) {
          sum += values[k]! * vectors[k * n + i]! * vectors[k * n + j]!;
          inner += vectors[i * n + k]! * vectors[j * n + k]!;
        }
        expect(sum).toBeCloseTo(matrix[i * n + j]!, 12);
        expect(inner).toBeCloseTo(i === j ? 1 : 0, 12);
      }
    }
  });

  it("takes a diagonal and a zero matrix, and refuses values that are not finite", () => {
    expect([...symmetricEigen(Float64Array.of(3, 0, 0, 1), 2).values]).toEqual([1, 3]);
    expect([...symmetricEigen(new Float64Array(9), 3).values]).toEqual([0, 0, 0]);
    expect(() => symmetricEigen(Float64Array.of(1, Number.NaN, Number.NaN, 1), 2)).toThrow(RangeError);
  });
});

describe("whitening", () => {
  it("is SAELens': same mean, and a matrix with the same M·Mᵀ, inverse and whitened covariance", async () => {
    await using golden = await openSafetensors(fixture("covariance_whitening/golden.safetensors"));
    const x = await golden.readF32("x");
    const n = golden.tensors.get("x")!.shape[1]!;
    const statistics = measureWhitening(x, n);
    const { matrix, inverseMatrix } = whiteningOf(statistics);
    expect(largestDifference(statistics.mean, await golden.readF32("mean"))).toBeLessThan(1e-6);
    // Eigenvectors have a sign of their own; products do not.
    const wanted = await golden.readF32("matrix");
    const gram = (m: Float32Array): Float32Array => product(m, transposed(m, n), n);
    expect(largestDifference(gram(matrix), gram(wanted))).toBeLessThan(1e-4);
    expect(largestDifference(product(matrix, inverseMatrix, n), identity(n))).toBeLessThan(1e-5);
    for (let j = 0; j < n; j++) {
      let along = 0;
      for (let i = 0; i < n; i++) along += matrix[i * n + j]! * wanted[i * n + j]!;
      for (let i = 0; i < n; i++) expect(Math.abs(Math.sign(along) * matrix[i * n + j]! - wanted[i * n + j]!)).toBeLessThan(1e-3);
    }
    expect(JSON.parse(await readFile(fixture("covariance_whitening/golden.json"), "utf8"))).toMatchObject({ eps: 1e-3 });
  });

  it("refuses a sample without full rank", () => {
    expect(() => measureWhitening(data.subarray(0, d * d), d)).toThrow("too few rows for a covariance");
  });
});

describe("a training on whitened rows", () => {
  it("saves an SAE for raw rows that does what it does inside on whitened ones", async () => {
    await using trainer = await HybridTrainer.create(config, { sample: data });
    await train(trainer, 0, steps);
    const raw = await trainer.weights();
    expect(raw.config.normalizeActivations).toBe("none");
    const statistics = measureWhitening(data, d);
    const { folder } = await writeCheckpoint(join(root, "inside"), trainer);
    await using state = await openSafetensors(join(folder, "state.safetensors"));
    expect(await state.readF32("whitening.mean")).toEqual(statistics.mean);
    expect(await state.readF32("whitening.eigenvalues")).toEqual(statistics.spectrum);
    const inside: SaeWeights = { ...raw, wEnc: await state.readF32("W_enc"), bEnc: await state.readF32("b_enc"), wDec: await state.readF32("W_dec"), bDec: await state.readF32("b_dec") };
    const some = data.subarray(0, 200 * d);
    const [direct, within] = [new SaeCodec(raw).reconstruct(some), new SaeCodec(inside).reconstruct(whitenSample(some, statistics))];
    const { mean, inverseMatrix } = whiteningOf(statistics);
    const back = product(within, inverseMatrix, d).map((value, at) => value + mean[at % d]!);
    // Columns up to 150 in size: relative to the largest.
    const scale = Math.max(...some.map(Math.abs));
    expect(largestDifference(direct, back) / scale).toBeLessThan(1e-5);
  });

  it("has the same steps by LoopTrainer", async () => {
    await using hybrid = await HybridTrainer.create(config, { sample: data });
    await using loop = await LoopTrainer.create(config, { sample: data }, "cpu");
    for (let step = 0; step < 8; step++) {
      const batch = data.subarray(step * rows * d, (step + 1) * rows * d);
      const [one, two] = await Promise.all([hybrid.step(batch), loop.step(batch)]);
      expect(two.fvu).toBeCloseTo(one.fvu, 5);
    }
    const [one, two] = [await hybrid.weights(), await loop.weights()];
    for (const name of names) expect(largestDifference(two[name], one[name]), name).toBeLessThan(1e-4);
  });

  it("continues to the same bits from a checkpoint, with the statistics of the first sample", async () => {
    await using straight = await HybridTrainer.create(config, { sample: data });
    await train(straight, 0, 10);
    const folder = join(root, "resume");
    {
      await using half = await HybridTrainer.create(config, { sample: data });
      await train(half, 0, 4);
      await writeCheckpoint(folder, half);
    }
    await using resumed = await HybridTrainer.create({ ...config, seed: 5 }, { restored: true });
    await restoreNewestCheckpoint(folder, resumed);
    await train(resumed, 4, 10);
    const [one, two] = [await straight.weights(), await resumed.weights()];
    for (const name of names) expect(two[name], name).toEqual(one[name]);
  });

  it("folds and unfolds an SAE to where it was", async () => {
    await using trainer = await HybridTrainer.create({ ...config, normalizeActivations: "none" }, { sample: data });
    const sae = await trainer.weights();
    const whitening = whiteningOf(measureWhitening(data, d));
    const again = unfoldWhitening(foldWhitening(sae, whitening), whitening);
    for (const name of names) expect(largestDifference(again[name], sae[name]), name).toBeLessThan(1e-4);
  });
});

function product(a: Float32Array, b: Float32Array, n: number): Float32Array {
  const out = new Float32Array(a.length);
  for (let i = 0; i < a.length; i += n) {
    for (let j = 0; j < n; j++) {
      let sum = 0;
      for (let k = 0; k < n; k++) sum += a[i + k]! * b[k * n + j]!;
      out[i + j] = sum;
    }
  }
  return out;
}

function transposed(a: Float32Array, n: number): Float32Array {
  return a.map((_, at) => a[(at % n) * n + Math.floor(at / n)]!);
}

function identity(n: number): Float32Array {
  return Float32Array.from({ length: n * n }, (_, at) => (at % n === Math.floor(at / n) ? 1 : 0));
}

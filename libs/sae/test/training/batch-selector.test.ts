import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { BatchSelector } from "../../src/training/batch-selector.ts";
import { resolveTrainerConfig } from "../../src/training/config.ts";
import { KernelTeam } from "../../src/training/kernel-team.ts";
import { compileKernels } from "../../src/training/kernels.ts";
import { planLayout } from "../../src/training/layout.ts";
import { Random } from "../../src/training/random.ts";
import { TrainerMemory } from "../../src/training/trainer-memory.ts";

const [batch, h, k] = [37, 203, 6];
const wanted = k * batch;

/** [row, latent, value] of the kept entries, as a sort of everything finds them: by value, then row, then latent. */
function sorted(pre: Float32Array, n: number): [number, number, number][] {
  return Array.from(pre, (value, i): [number, number, number] => [Math.floor(i / h), i % h, value])
    .filter(([, , value]) => value > 0)
    .sort((one, other) => other[2] - one[2] || one[0] - other[0] || one[1] - other[1])
    .slice(0, n)
    .sort((one, other) => one[0] - other[0] || one[1] - other[1]);
}

describe.each([1, 3])("the largest values of a batch, on %i threads,", (threads) => {
  // Tiles of 64 latents, the last of 11: rows end within a vector.
  const layout = { ...planLayout(resolveTrainerConfig({ architecture: "batchtopk", dIn: 4, dSae: h, k, trainBatchSizeTokens: batch, trainingTokens: 1000, threads })), tile: 64 };
  const memory = TrainerMemory.allocate(layout, compileKernels());
  let team: KernelTeam;
  let selector: BatchSelector;

  beforeAll(async () => {
    team = await KernelTeam.start(layout, memory.shared.memory, memory.shared.module);
    selector = new BatchSelector(memory, team);
  });
  afterAll(() => team.close());

  function select(pre: Float32Array): { readonly smallest: number | undefined; readonly entries: [number, number, number][] } {
    const { at, tile, capacity } = layout;
    for (let f = 0; f < h; f += tile) {
      const width = Math.min(tile, h - f);
      const target = new Float32Array(memory.buffer, at.pre + f * batch * 4, batch * width);
      for (let b = 0; b < batch; b++) target.set(pre.subarray(b * h + f, b * h + f + width), b * width);
    }
    const smallest = selector.select(wanted);
    const bounds = new Uint32Array(memory.buffer, at.bounds, 2 * batch);
    const [vals, idx] = [new Float32Array(memory.buffer, at.vals, capacity), new Uint32Array(memory.buffer, at.idx, capacity)];
    const entries: [number, number, number][] = [];
    for (let b = 0; b < batch; b++) for (let p = bounds[2 * b]!; p < bounds[2 * b + 1]!; p++) entries.push([b, idx[p]!, vals[p]!]);
    return { smallest, entries };
  }

  function bySorting(pre: Float32Array): ReturnType<typeof select> {
    const entries = sorted(pre, wanted);
    return { smallest: entries.length === 0 ? undefined : Math.min(...entries.map(([, , value]) => value)), entries };
  }

  it("are those of a sort, from step to step as they drift, jump and fall", () => {
    const random = new Random(1);
    const draw = (scale: number): Float32Array => Float32Array.from({ length: batch * h }, () => scale * (random.uniform(-1, 1) + random.uniform(-1, 1) + random.uniform(-1, 1)));
    for (const scale of [1, 1, 1.01, 0.99, 30, 30, 0.01, 1e-3, 1e-38, 1e-38, 1]) {
      const pre = draw(scale);
      expect(select(pre)).toEqual(bySorting(pre));
    }
  });

  it("take equal values from the lowest rows, then the lowest latents, however many there are", () => {
    const random = new Random(2);
    const cases = [
      new Float32Array(batch * h).fill(0.25),
      Float32Array.from({ length: batch * h }, () => Math.round(random.uniform(-2, 3))),
      Float32Array.from({ length: batch * h }, () => Math.round(random.uniform(-2, 3))),
      Float32Array.from({ length: batch * h }, (_, i) => (i % 50 === 0 ? 1 + i : 0.5)),
    ];
    for (const pre of cases) expect(select(pre)).toEqual(bySorting(pre));
  });

  it("are all positive ones where there are fewer, none where there is none, and never NaN", () => {
    const cases = [
      Float32Array.from({ length: batch * h }, (_, i) => (i % 97 === 0 ? i + 1 : -i)),
      new Float32Array(batch * h),
      new Float32Array(batch * h).fill(-3),
      Float32Array.from({ length: batch * h }, (_, i) => (i % 5 === 0 ? Number.NaN : i)),
      Float32Array.from({ length: batch * h }, (_, i) => (i % 5 === 0 ? Number.POSITIVE_INFINITY : -i)),
    ];
    for (const pre of cases) expect(select(pre)).toEqual(bySorting(pre));
  });
});

import { describe, expect, it } from "vitest";
import { resolveTrainerConfig } from "../../src/training/config.ts";
import { TrainerEncoder } from "../../src/training/encoder.ts";
import { initialise } from "../../src/training/initialise.ts";
import { KernelTeam } from "../../src/training/kernel-team.ts";
import { compileKernels } from "../../src/training/kernels.ts";
import { planLayout } from "../../src/training/layout.ts";
import { Arg } from "../../src/training/phase-args.ts";
import { Preselection } from "../../src/training/preselection.ts";
import { Random } from "../../src/training/random.ts";
import { TrainerMemory } from "../../src/training/trainer-memory.ts";
import { mixtureRows } from "./data.ts";

const [d, h, batch, k] = [200, 4112, 64, 16];
const sample = mixtureRows(batch, d, 3);
const config = resolveTrainerConfig({ dIn: d, dSae: h, k, kAux: 24, trainBatchSizeTokens: batch, trainingTokens: 1e6, threads: 2, seed: 5 });

/** A team over weights and a batch whose encoder input is `row(b)`. */
async function withBatch(row: (b: number) => Float32Array, check: (memory: TrainerMemory, team: KernelTeam, encoder: TrainerEncoder) => Promise<void>): Promise<void> {
  const memory = TrainerMemory.allocate(planLayout(config), compileKernels());
  initialise(memory, config, { sample });
  const { layout, shared, buffer } = memory;
  const random = new Random(9);
  for (let f = 0; f < h; f++) memory.row("wEnc", f)[d] = random.uniform(-0.3, 0.1);
  for (let b = 0; b < batch; b++) {
    const target = new Float32Array(buffer, layout.at.centered + b * layout.stride, layout.stride / 4);
    target.set(row(b));
    target[d] = 1;
  }
  const team = await KernelTeam.start(layout, shared.memory, shared.module);
  const encoder = await TrainerEncoder.create(layout, shared.memory);
  try {
    await check(memory, team, encoder);
  } finally {
    await encoder.close();
    await team.close();
  }
}

/** Latents of every row in order, and their values, as they lie in vals and idx. */
function chosen({ layout: { at }, buffer }: TrainerMemory): { readonly latents: number[][]; readonly values: number[][] } {
  const idx = new Uint32Array(buffer, at.idx, batch * k);
  const vals = new Float32Array(buffer, at.vals, batch * k);
  const rows = Array.from({ length: batch }, (_, b) => Array.from({ length: k }, (_, j) => b * k + j).toSorted((i, j) => idx[i]! - idx[j]!));
  return { latents: rows.map((row) => row.map((i) => idx[i]!)), values: rows.map((row) => row.map((i) => vals[i]!)) };
}

const plainRow = (b: number): Float32Array => sample.subarray(b * d, (b + 1) * d);
/** One column drowns the others in eight bits. */
const outlierRow = (b: number): Float32Array => plainRow(b).map((value, i) => (i === 7 ? 200 : value));

describe("8-bit preselection", () => {
  it.each([
    ["of like columns", plainRow, (failed: number) => failed === 0],
    ["some with an outlier, which are encoded in f32", (b: number) => (b % 5 === 0 ? outlierRow(b) : plainRow(b)), (failed: number) => failed === 13],
    ["all with an outlier", outlierRow, (failed: number) => failed === batch],
    ["that are zero", (b: number) => (b < 3 ? new Float32Array(d) : plainRow(b)), () => true],
  ] as const)("chooses what f32 chooses, from rows %s", async (_, row, expected) => {
    await withBatch(row, async (memory, team, encoder) => {
      expect(team.scores).toBe(true);
      await encoder.encode(k);
      const exact = chosen(memory);
      for (const region of ["vals", "idx"] as const) new Uint32Array(memory.buffer, memory.layout.at[region], batch * k).fill(0);
      await new Preselection(memory, team, encoder).encode(k);
      const found = chosen(memory);
      expect(found.latents).toEqual(exact.latents);
      const { at, stride, width } = memory.layout;
      const beyond = Array.from({ length: batch }, (_, b) => [...new Float32Array(memory.buffer, at.g + b * stride + width, (stride - width) / 4)]).flat();
      expect(beyond.every((value) => value === 0)).toBe(true);
      found.values.forEach((values, b) => values.forEach((value, j) => expect(value).toBeCloseTo(exact.values[b]![j]!, 4)));
      team.args[Arg.k] = k;
      expect(expected((await team.score()).reduce((sum, count) => sum + count, 0))).toBe(true);
    });
  });
});

describe("the dead latents' encoding", () => {
  it("chooses the largest positive ones, also where fewer are positive or some are equal", async () => {
    await withBatch(plainRow, async (memory, team) => {
      const { at, kAux, stride } = memory.layout;
      const dead = Uint32Array.from({ length: 700 }, (_, i) => i * 2 + 1);
      new Uint32Array(memory.buffer, at.dead, dead.length).set(dead);
      // Twenty latents are one and the same; and for the first row hardly any is positive.
      for (let i = 300; i < 320; i++) memory.row("wEnc", dead[i]!).set(memory.row("wEnc", dead[300]!));
      const centered = new Float32Array(memory.buffer, at.centered, (batch * stride) / 4);
      centered.fill(0, 0, d);
      for (const f of dead) memory.row("wEnc", f)[d] = f % 200 === 1 ? 0.1 : -0.1;
      team.args[Arg.deadCount] = dead.length;
      team.args[Arg.auxK] = kAux;
      await team.encodeDead();
      const vals = new Float32Array(memory.buffer, at.auxVals, batch * kAux);
      const idx = new Uint32Array(memory.buffer, at.auxSource, batch * kAux);
      for (let b = 0; b < batch; b++) {
        const c = centered.subarray((b * stride) / 4, ((b + 1) * stride) / 4);
        const pre = new Map([...dead].map((f) => [f, memory.row("wEnc", f).reduce((sum, w, i) => sum + w * c[i]!, 0)]));
        const wanted = [...pre.values()].filter((value) => value > 0).toSorted((x, y) => y - x).slice(0, kAux);
        const kept = [...vals.subarray(b * kAux, (b + 1) * kAux)];
        const got = kept.filter((value) => value > 0).toSorted((x, y) => y - x);
        expect(got).toHaveLength(wanted.length);
        got.forEach((value, j) => expect(value).toBeCloseTo(wanted[j]!, 4));
        for (const [j, value] of kept.entries()) expect(value > 0 ? pre.get(idx[b * kAux + j]!) : 0).toBeCloseTo(value, 4);
      }
    });
  });
});

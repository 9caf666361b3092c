import { cp, mkdtemp, open, readFile, rm, truncate } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Checkpoint, restoreCheckpoint, restoreNewestCheckpoint, type TrainerConfig, writeCheckpoint } from "../../src/index.ts";
import { HybridTrainer } from "../../src/training/hybrid-trainer.ts";
import { mixtureRows } from "./data.ts";

const [d, rows, page] = [26, 64, 4096];
const config: TrainerConfig = { dIn: d, dSae: 160, k: 4, trainBatchSizeTokens: rows, trainingTokens: rows * 4, threads: 1, seed: 3 };
const data = mixtureRows(rows * 4, d, 5);
let root = "";
let trainer: HybridTrainer;
const saved: Checkpoint[] = [];

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "sae-torn-"));
  trainer = await HybridTrainer.create(config, { sample: data });
  for (let step = 0; step < 2; step++) {
    await trainer.step(data.subarray(step * rows * d, (step + 1) * rows * d));
    saved.push(await writeCheckpoint(join(root, "whole"), trainer));
  }
});
afterAll(async () => {
  await trainer.close();
  await rm(root, { recursive: true, force: true });
});

/** Every way in which a write that was cut off, or a page that was lost, leaves a file. */
const tears = {
  "cut off": async (path: string, at: number) => truncate(path, at),
  "zero from there on": async (path: string, at: number, size: number) => overwrite(path, at, Buffer.alloc(size - at)),
  "one page of zeros": async (path: string, at: number, size: number) => overwrite(path, at, Buffer.alloc(Math.min(page, size - at))),
  "one bit flipped": async (path: string, at: number, size: number) => {
    const byte = Math.min(at, size - 1);
    const bytes = (await readFile(path)).subarray(byte, byte + 1);
    await overwrite(path, byte, Buffer.from([bytes[0]! ^ 1]));
  },
} as const;

async function overwrite(path: string, at: number, bytes: Uint8Array): Promise<void> {
  const file = await open(path, "r+");
  await file.write(bytes, 0, bytes.length, at);
  await file.close();
}

describe.each(["state.safetensors", "manifest.json"])("%s of the newest checkpoint", (name) => {
  it.each(Object.entries(tears))("%s at any boundary of 4 KiB, or of 16 bytes in so short a file: it is passed over, by name, and never loaded", async (_tear, tear) => {
    const [older, newer] = [saved[0]!, saved[1]!];
    const whole = await readFile(join(newer.folder, name));
    for (let at = 0; at < whole.length; at += name === "manifest.json" ? 16 : page) {
      const folder = join(root, "torn");
      await cp(join(root, "whole"), folder, { recursive: true });
      const torn = join(folder, "step-00000002");
      await tear(join(torn, name), at, whole.length);
      // A page that was all zero before is no damage.
      const damaged = !whole.equals(await readFile(join(torn, name)));
      const found = await restoreNewestCheckpoint(folder, trainer);
      expect(found, `${name} torn at ${at}`).toMatchObject(damaged ? { step: older.step, damaged: [torn] } : { step: newer.step, damaged: [] });
      const itself = await restoreCheckpoint(torn, trainer).then(({ step }) => String(step), String);
      expect(itself, `${name} torn at ${at}`).toMatch(damaged ? /damaged|not a manifest/ : /^2$/);
      await rm(folder, { recursive: true });
    }
  });
});

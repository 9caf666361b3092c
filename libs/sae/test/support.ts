import { cp, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openSafetensors } from "@mistral-sae/tensor";
import { afterAll, expect } from "vitest";
import { rowNorms, type SaeConfig, type SaeWeights } from "../src/index.ts";

/** Path of a fixture. */
export function fixture(...parts: string[]): string {
  return join(import.meta.dirname, "fixtures", ...parts);
}

/** A fixture's `io.safetensors`. */
export interface FixtureIo {
  readonly x: Float32Array;
  readonly featureActs: Float32Array;
  readonly reconstruction: Float32Array;
  readonly saeIn: Float32Array | undefined;
}

export async function readIo(name: string): Promise<FixtureIo> {
  await using file = await openSafetensors(fixture(name, "io.safetensors"));
  return {
    x: await file.readF32("x"),
    featureActs: await file.readF32("feature_acts"),
    reconstruction: await file.readF32("reconstruction"),
    saeIn: file.tensors.has("sae_in") ? await file.readF32("sae_in") : undefined,
  };
}

/** Largest difference between two arrays of one length. */
export function largestDifference(got: Float32Array, wanted: Float32Array): number {
  expect(got.length).toBe(wanted.length);
  let most = 0;
  for (let i = 0; i < got.length; i++) {
    const difference = Math.abs(got[i]! - wanted[i]!);
    if (!(difference <= most)) most = difference;
  }
  return most;
}

/** A folder that is gone after the file's tests; `path()` inside it. */
export function temporaryFolder(): (...parts: string[]) => Promise<string> {
  let root: Promise<string> | undefined;
  afterAll(async () => {
    if (root !== undefined) await rm(await root, { recursive: true });
  });
  return async (...parts) => {
    root ??= mkdtemp(join(tmpdir(), "sae-test-"));
    return join(await root, ...parts);
  };
}

/** Copies fixture files or folders into one folder. */
export async function assemble(folder: string, files: Readonly<Record<string, string>>): Promise<string> {
  for (const [to, from] of Object.entries(files)) await cp(from, join(folder, to), { recursive: true });
  return folder;
}

/** Numbers in [-1, 1) that are the same on every run. */
export function noise(count: number, seed: number): Float32Array {
  let state = seed >>> 0;
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 31 - 1;
  });
}

const PLAIN: SaeConfig = {
  architecture: "standard",
  dIn: 6,
  dSae: 10,
  dtype: "float32",
  applyBDecToInput: true,
  normalizeActivations: "none",
  reshapeActivations: "none",
  rescaleActsByDecoderNorm: false,
  metadata: {},
};

/** A small random SAE of any architecture. */
export function randomSae(changes: Partial<SaeConfig> = {}, seed = 1): SaeWeights {
  const config = { ...PLAIN, ...changes };
  const { dIn, dSae, dOut = dIn, architecture, skipConnection = false } = config;
  const gated = architecture === "gated";
  // Matching pursuit encodes with its decoder, whose rows are unit vectors.
  const pursues = architecture === "matching_pursuit";
  const free = noise(dSae * dOut, seed + 2);
  const norms = rowNorms(free, dOut);
  const wDec = pursues ? free.map((value, i) => value / norms[Math.floor(i / dOut)]!) : free;
  return {
    config,
    wEnc: pursues ? wDec : noise(dSae * dIn, seed),
    bEnc: gated || pursues ? new Float32Array(dSae) : noise(dSae, seed + 1),
    wDec,
    bDec: noise(dOut, seed + 3),
    ...(skipConnection ? { wSkip: noise(dOut * dIn, seed + 8) } : {}),
    ...(architecture === "jumprelu" ? { threshold: noise(dSae, seed + 4).map((value) => Math.abs(value)) } : {}),
    ...(gated ? { gate: { bGate: noise(dSae, seed + 5), bMag: noise(dSae, seed + 6), rMag: noise(dSae, seed + 7) } } : {}),
  };
}

import { InputError } from "@mistral-sae/tensor";
import { totalmem } from "node:os";
import type { ResolvedTrainerConfig } from "../config.ts";
import { planLayout, type TrainerLayout } from "../layout.ts";

const firstByte = 4096;
const regionAlignment = 256;
const pageBytes = 65536;
/** The most that V8 gives a memory with 64-bit addresses. */
const largestMemory = 16 * 2 ** 30;

/** What the loop keeps between runs: weights, moments, counters, statistics and batches. Everything else lives in the provider. */
export function planLoopLayout(config: ResolvedTrainerConfig): TrainerLayout {
  const whole = planLayout(config, Number.MAX_SAFE_INTEGER);
  const { h, stride, whitens, rowStride } = whole;
  const kept: Readonly<Record<string, number>> = {
    ...Object.fromEntries(["wEnc", "wDec", "mEnc", "vEnc", "mDec", "vDec"].map((name) => [name, h * stride])),
    ...Object.fromEntries(["bDec", "mBDec", "vBDec"].map((name) => [name, stride])),
    sinceA: h * 8,
    ...(whitens ? { whitenMean: stride, whitenRows: (stride / 4) * stride, whitenSpectrum: stride } : {}),
  };
  let top = firstByte;
  const place = (bytes: number): number => {
    const at = top;
    top += Math.ceil(bytes / regionAlignment) * regionAlignment;
    return at;
  };
  const at = Object.fromEntries(Object.keys(whole.at).map((name) => [name, place(kept[name] ?? 0)])) as TrainerLayout["at"];
  const slots = whole.slots.map(() => place(whole.batch * rowStride));
  const rowLists = whole.slots.map(() => top);
  return { ...whole, at, slots, rowLists, rowStore: { at: top, bytes: 0 }, storesGradients: false, bytes: Math.ceil(top / pageBytes) * pageBytes };
}

/** Bytes of this machine's memory that a training takes: its own, and as much again for what a run gives back. */
export function loopMemory({ h, stride, bytes }: TrainerLayout): number {
  return bytes + 6 * h * stride;
}

/** Refuses a training that does not fit, before anything is allocated; the device's memory is its provider's to refuse. Throws InputError with the numbers. */
export function requireLoopMemory(config: ResolvedTrainerConfig): void {
  const layout = planLoopLayout(config);
  const wish = `d_in ${layout.d}, d_sae ${layout.h}, batch ${layout.batch}`;
  const gib = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(2)} GiB`;
  if (layout.bytes > largestMemory) throw new InputError(`this trainer holds an SAE in one memory of at most ${gib(largestMemory)}; ${wish} needs more`, { field: "dSae", got: gib(layout.bytes), wanted: `at most ${gib(largestMemory)}` });
  const limit = config.maxMemoryBytes ?? totalmem();
  if (loopMemory(layout) > limit) throw new InputError(`not enough memory to train: ${wish} needs weights and moments twice`, { field: "maxMemoryBytes", got: gib(loopMemory(layout)), wanted: `at most ${gib(limit)}` });
  if (config.rowStoreBytes > 0) throw new InputError("the trainer in one graph keeps no row store; give it batches", { field: "rowStoreBytes", got: config.rowStoreBytes, wanted: 0 });
}

import { InputError } from "@mistral-sae/tensor";
import type { ResolvedTrainerConfig } from "../config.ts";

/** Elements of one intermediate value beyond which providers compute wrong offsets: they count in int32. */
const largestTensor = 2 ** 31;

/** Refuses what the loop cannot train. Throws InputError naming the option. */
export function requireLoop(config: ResolvedTrainerConfig): void {
  const { architecture, transcoder, kStart, k, resampleEverySteps, optimizer, trainBatchSizeTokens: batch, dSae, dIn } = config;
  const needs: readonly (readonly [string, string | number | undefined, string | number | undefined])[] = [
    ["architecture", architecture, "topk"],
    ["dOut", transcoder ? config.dOut : undefined, undefined],
    ["kStart", kStart, k],
    ["resampleEverySteps", resampleEverySteps, 0],
    ["optimizer", optimizer, "adam"],
  ];
  for (const [field, got, wanted] of needs) {
    if (got !== wanted) throw new InputError("the trainer in one graph does not do this; train it with the provider cpu", { field, got: got ?? "nothing", wanted: wanted === undefined ? "nothing" : wanted });
  }
  const largest = Math.max(batch, dIn + 4) * Math.max(dSae, dIn + 4);
  if (largest >= largestTensor) throw new InputError("a value of the trainer in one graph would have too many elements", { field: "trainBatchSizeTokens", got: `${largest} elements`, wanted: `fewer than ${largestTensor}` });
}

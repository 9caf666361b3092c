import { topK } from "@mistral-sae/tensor";
import type { RowFault, StepResult, TopLogprobs } from "../engine.ts";
import type { ModelRuntime } from "../runtime/model-runtime.ts";
import { divergence, logSumExp } from "../sampling/distribution.ts";
import type { Slot } from "./slot.ts";

/** One for all rows without log-probabilities: it crosses threads once. */
const noTop: TopLogprobs = { tokens: new Uint32Array(), logprobs: new Float32Array() };

/**
 * Chooses the next token of each slot from its last residual row, in one run of the head. Rows whose logits are not
 * finite are told in `faults`, so that they take no other row with them.
 */
export async function chooseNext(
  runtime: ModelRuntime,
  slots: readonly Slot[],
  klFrom: readonly (number | undefined)[],
  withLogits: boolean,
): Promise<Pick<StepResult, "tokens" | "faults" | "logprobs" | "top" | "kl" | "logits">> {
  const { dModel } = runtime;
  const { dVocab } = runtime.source.config;
  const rows = new Float32Array(slots.length * dModel);
  for (const [i, slot] of slots.entries()) rows.set(slot.last, i * dModel);
  const logits = await runtime.heads.logits(rows, slots.length);
  const line = (i: number): Float32Array => logits.subarray(i * dVocab, (i + 1) * dVocab);
  const tokens = new Uint32Array(slots.length);
  const logprobs = new Float32Array(slots.length).fill(Number.NaN);
  const kl = new Float64Array(slots.length).fill(Number.NaN);
  const top: TopLogprobs[] = [];
  const faults: RowFault[] = [];
  for (const [i, slot] of slots.entries()) {
    const { sampling, promptLength } = slot;
    const history = { tokens: slot.tokens, promptLength };
    let token: number;
    try {
      token = runtime.sampler.choose(line(i), sampling, history, slot.tokens.length - promptLength);
    } catch (error) {
      faults.push({ row: i, message: error instanceof Error ? error.message : String(error) });
      top.push(noTop);
      continue;
    }
    slot.pending = token;
    tokens[i] = token;
    if (sampling.nLogprobs === 0) top.push(noTop);
    else {
      const likeliest: TopLogprobs = { tokens: new Uint32Array(sampling.nLogprobs), logprobs: new Float32Array(sampling.nLogprobs) };
      const scale = logSumExp(line(i));
      logprobs[i] = line(i)[token]! - scale;
      topK(line(i), sampling.nLogprobs, likeliest.tokens, likeliest.logprobs);
      for (let j = 0; j < sampling.nLogprobs; j++) likeliest.logprobs[j] = likeliest.logprobs[j]! - scale;
      top.push(likeliest);
    }
    const base = klFrom[i];
    if (base !== undefined) kl[i] = divergence(line(i), line(base));
  }
  return { tokens, faults, logprobs, top, kl, logits: withLogits ? logits : new Float32Array() };
}

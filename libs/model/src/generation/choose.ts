import { topK } from "@mistral-sae/tensor";
import type { RowFault, StepResult, TopLogprobs } from "../engine.ts";
import type { ModelRuntime } from "../runtime/model-runtime.ts";
import { divergence, logSumExp } from "../sampling/distribution.ts";
import { joinRows } from "./join-rows.ts";
import { noToken } from "./no-token.ts";
import type { Slot } from "./slot.ts";

const noLogits = new Float32Array();

/** One for all rows without log-probabilities: it crosses threads once. */
const noTop: TopLogprobs = { tokens: new Uint32Array(), logprobs: new Float32Array() };

/**
 * Chooses the next token of each slot from its logits, [dVocab]; those that are missing come from the slots' last residual
 * rows, in one run of the head. Slots that are not in `ran` get no token. Rows whose logits are not
 * finite are told in `faults`, so that they take no other row with them.
 */
export async function chooseNext(
  runtime: ModelRuntime,
  slots: readonly Slot[],
  given: readonly (Float32Array | undefined)[],
  klFrom: readonly (number | undefined)[],
  withLogits: boolean,
  ran?: ReadonlySet<Slot>,
): Promise<Pick<StepResult, "tokens" | "faults" | "logprobs" | "top" | "kl" | "logits">> {
  const lines = await allLogits(runtime, slots, ran === undefined ? given : slots.map((slot, i) => (ran.has(slot) ? given[i] : noLogits)));
  const line = (i: number): Float32Array => lines[i]!;
  const tokens = new Uint32Array(slots.length);
  const logprobs = new Float32Array(slots.length).fill(Number.NaN);
  const kl = new Float64Array(slots.length).fill(Number.NaN);
  const top: TopLogprobs[] = [];
  const faults: RowFault[] = [];
  for (const [i, slot] of slots.entries()) {
    if (ran?.has(slot) === false) {
      tokens[i] = noToken;
      top.push(noTop);
      continue;
    }
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
  return { tokens, faults, logprobs, top, kl, logits: withLogits ? joinRows(lines) : new Float32Array() };
}

async function allLogits(runtime: ModelRuntime, slots: readonly Slot[], given: readonly (Float32Array | undefined)[]): Promise<readonly Float32Array[]> {
  const missing = slots.filter((_, i) => given[i] === undefined);
  const { dModel } = runtime;
  const { dVocab } = runtime.source.config;
  const rows = new Float32Array(missing.length * dModel);
  for (const [i, slot] of missing.entries()) rows.set(slot.last, i * dModel);
  const computed = missing.length === 0 ? rows : await runtime.heads.logits(rows, missing.length);
  let next = 0;
  return given.map((line) => line ?? computed.subarray(next * dVocab, ++next * dVocab));
}

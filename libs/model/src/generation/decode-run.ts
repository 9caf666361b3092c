import type { DecodeRow, StepResult } from "../engine.ts";
import type { ModelRuntime } from "../runtime/model-runtime.ts";
import type { LoopSampling } from "../runtime/decode-loops.ts";
import { uniform } from "../sampling/philox.ts";
import type { StepReport } from "../worker/protocol.ts";
import { checkRows, decodeStep } from "./decode.ts";
import type { Slot } from "./slot.ts";
import type { Slots } from "./slots.ts";

/**
 * Up to `steps` decoding steps of the same rows in one run of the model; one step where a row needs what only single
 * steps can do: edits, penalties, log-probabilities, taps, a KL, a last token before the context ends.
 */
export async function decodeRun(runtime: ModelRuntime, slots: Slots, rows: readonly DecodeRow[], steps: number, report: StepReport): Promise<StepResult[]> {
  const members = checkRows(runtime, slots, rows);
  const most = members.reduce((least, { cache }) => Math.min(least, runtime.source.nCtx - cache.length), steps);
  if (most < 2 || report.taps.length > 0 || report.traces.length > 0 || report.withLogits || rows.some(({ klFrom }) => klFrom !== undefined) || !members.every(loops)) {
    return [await decodeStep(runtime, slots, rows, report)];
  }
  const tokens = Array.from({ length: most }, () => new Uint32Array(rows.length));
  const fed = rows.map((row, i) => row.token ?? members[i]!.pending);
  const indexOf = new Map(members.map((slot, i) => [slot.cache, i]));
  for (const group of runtime.cache.group(members.map((slot) => slot.cache), most)) {
    const order = group.rows.map((cache) => indexOf.get(cache)!);
    const ran = order.map((i) => members[i]!);
    const sampling = ran.some((slot) => slot.sampling.temperature > 0) ? samplingOf(ran, most, runtime.source.config.dVocab) : undefined;
    const chosen = await runtime.loops.run(group, BigInt64Array.from(order, (i) => BigInt(fed[i]!)), most, sampling);
    for (const [b, i] of order.entries()) {
      const slot = members[i]!;
      slot.push(fed[i]!);
      for (let step = 0; step < most; step++) {
        const token = Number(chosen.tokens[step * order.length + b]!);
        tokens[step]![i] = token;
        if (step + 1 < most) slot.push(token);
        else slot.pending = token;
      }
      slot.cache.length += most;
      slot.last.set(chosen.resid.subarray(b * runtime.dModel, (b + 1) * runtime.dModel));
    }
  }
  return tokens.map((row) => plainStep(row));
}

/** Whether the graph chooses this slot's tokens as the sampler would. */
function loops({ edits, sampling }: Slot): boolean {
  const { repetitionPenalty, presencePenalty, frequencyPenalty, logitBias, nLogprobs } = sampling;
  return edits === undefined && repetitionPenalty === 1 && presencePenalty === 0 && frequencyPenalty === 0 && logitBias === undefined && nLogprobs === 0;
}

function samplingOf(slots: readonly Slot[], steps: number, dVocab: number): LoopSampling {
  const draws = new Float64Array(steps * slots.length);
  for (const [b, { sampling, tokens, promptLength }] of slots.entries()) {
    for (let step = 0; step < steps; step++) draws[step * slots.length + b] = uniform(sampling.seed, tokens.length + 1 + step - promptLength);
  }
  return {
    draws,
    temperature: Float64Array.from(slots, ({ sampling }) => sampling.temperature),
    topK: BigInt64Array.from(slots, ({ sampling }) => BigInt(sampling.topK === 0 ? dVocab : Math.min(sampling.topK, dVocab))),
    topP: Float64Array.from(slots, ({ sampling }) => sampling.topP),
    minP: Float64Array.from(slots, ({ sampling }) => sampling.minP),
  };
}

function plainStep(tokens: Uint32Array): StepResult {
  const n = tokens.length;
  const noTop = { tokens: new Uint32Array(), logprobs: new Float32Array() };
  return {
    tokens,
    faults: [],
    logprobs: new Float32Array(n).fill(Number.NaN),
    top: Array.from({ length: n }, () => noTop),
    kl: new Float64Array(n).fill(Number.NaN),
    edited: new Uint8Array(n),
    endedBy: new Int32Array(n).fill(-1),
    residuals: [],
    codes: [],
    offsets: Uint32Array.from({ length: n + 1 }, (_, i) => i),
    logits: new Float32Array(),
  };
}

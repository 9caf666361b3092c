import type { MessageInitShape } from "@bufbuild/protobuf";
import { FinishReason, type GenerateResponseSchema } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import type { DecodeRow, EditProof, PrefillResult, PrefillRow, SlotId, Tap, Trace } from "@mistral-sae/model";
import type { Tokenizer } from "@mistral-sae/tokenizer";
import type { Prompt } from "../wire/prompt.ts";
import { type Capture, capturedRows, capturesGenerated, runsOf } from "./capture.ts";
import { Channel } from "./channel.ts";
import { logprobFields } from "./logprobs.ts";
import { proveSteering } from "./proof.ts";
import type { GenerationParams } from "./sampling.ts";
import { type StepRows, traceKey } from "./step-rows.ts";
import { sparseMessage } from "./trace.ts";
import type { StepFields, VariantRun } from "./variant-run.ts";

export type GenerateEvent = MessageInitShape<typeof GenerateResponseSchema>;

/** What a generation is made of. */
export interface GenerationPlan {
  readonly prompt: Prompt;
  readonly params: GenerationParams;
  readonly variants: readonly VariantRun[];
  readonly captures: readonly Capture[];
  readonly trace: Trace | undefined;
  readonly withKl: boolean;
  readonly tokenizer: Tokenizer;
  readonly signal: AbortSignal;
}

/** Events that a reader may be behind before its generation pauses. */
const EVENTS_BEHIND = 256;

/**
 * One request while it runs: a row of the batch for each variant, all with one seed. The scheduler feeds it results
 * and asks it which rows come next; the reader takes its events.
 */
export class Generation {
  readonly events = new Channel<GenerateEvent>(EVENTS_BEHIND);
  readonly plan: GenerationPlan;
  readonly #traceKey: string | undefined;
  /** Whether a token's own row is wanted, so that the last token is read by the model as well. */
  readonly #readsRows: boolean;
  /** Hooks read in the prompt. */
  readonly promptTaps: readonly Tap[];
  /** Hooks read while decoding. */
  readonly stepTaps: readonly Tap[];
  readonly stepTraces: readonly Trace[];
  #finished = 0;

  constructor(plan: GenerationPlan) {
    this.plan = plan;
    this.promptTaps = plan.captures.filter(({ prompt }) => prompt.includes(1)).map(({ tap }) => tap);
    this.stepTaps = plan.captures.filter(({ readsGenerated }) => readsGenerated).map(({ tap }) => tap);
    this.stepTraces = plan.trace === undefined ? [] : [plan.trace];
    this.#traceKey = plan.trace === undefined ? undefined : traceKey(plan.trace);
    this.#readsRows = plan.trace !== undefined || plan.captures.some(({ readsGenerated }) => readsGenerated);
  }

  /** Whether the last variant's end is out. */
  get ended(): boolean {
    return this.#finished === this.plan.variants.length;
  }

  /**
   * Whether a variant has to go on: until its end, and the first one, unseen, until those that are compared with it end.
   * A condition that ends the first one ends the comparison: its edits say nothing about what would follow.
   */
  needs(variant: VariantRun): boolean {
    if (!variant.done) return true;
    const { withKl, variants } = this.plan;
    return withKl && variant === variants[0] && variant.finish !== FinishReason.CONDITION && variants.some(({ done }) => !done);
  }

  /** Variants that have to go on, in their order. */
  live(): VariantRun[] {
    return this.plan.variants.filter((variant) => this.needs(variant));
  }

  /**
   * What the model has to read before the live variants can go on: the prompt, and what was generated already. They
   * share what they can of the first one's cache, or of `source`, which holds tokens without edits.
   */
  prefillRows(source: SlotId | undefined): PrefillRow[] {
    const { prompt, params, withKl } = this.plan;
    const live = this.live();
    const shared = source === undefined ? {} : { reuse: source };
    return live.map((variant, i) => ({
      tokens: variant.read(prompt.ids),
      promptLength: prompt.ids.length,
      edits: variant.placed.map(({ edit }) => edit),
      sampling: params.sampling,
      endIds: variant.endIds,
      ...(i === 0 || (source !== undefined && live[0]?.placed.length !== 0) ? shared : { reuse: { row: 0 } }),
      ...(i === 0 || !withKl ? {} : { klFromRow: 0 }),
    }));
  }

  /** The prompt has been read and the first tokens chosen. */
  prefilled(result: PrefillResult, rows: StepRows): void {
    for (const [i, variant] of this.plan.variants.entries()) {
      variant.slot = result.slots[i];
      variant.cachedTokens = result.reusedTokens[i] ?? 0;
      this.#capturePrompt(result, rows, i, variant);
    }
    for (const [i, variant] of this.plan.variants.entries()) {
      const endedBy = result.endedBy[i] ?? -1;
      if (endedBy < 0) {
        this.#choose(variant, i, rows);
        continue;
      }
      variant.end(endedBy);
      variant.done = true;
    }
  }

  /** The live variants have slots again, at the place where they were. */
  resumed(slots: readonly SlotId[]): void {
    for (const [i, variant] of this.live().entries()) variant.slot = slots[i];
  }

  /** What to feed for a variant that has to go on. */
  decodeRow(variant: VariantRun): DecodeRow {
    const [first] = this.plan.variants;
    const row = { slot: variant.slot as SlotId, token: variant.pending };
    return this.plan.withKl && first?.slot !== undefined && variant !== first ? { ...row, klFrom: first.slot } : row;
  }

  /** Row `row` of a step was this variant's. */
  stepped(variant: VariantRun, row: number, rows: StepRows): void {
    if (variant.done) {
      variant.goOn(rows.result.tokens[row] ?? 0, true);
      return;
    }
    const { t, token } = variant.feed(rows.result.edited[row] ?? 0);
    for (const capture of this.plan.captures) {
      if (!capturesGenerated(capture, t, token)) continue;
      const value = capturedRows(capture, variant.id, this.plan.prompt.ids.length + t, rows.residuals(capture.key, row, 1));
      this.events.push({ event: { case: "captured", value } });
    }
    const { held } = variant;
    if (held !== undefined) {
      variant.held = undefined;
      const endedBy = held.finish === undefined ? (rows.result.endedBy[row] ?? -1) : -1;
      const step = endedBy < 0 ? held.step : { ...held.step, textDelta: `${held.step.textDelta ?? ""}${variant.end(endedBy)}` };
      if (this.#traceKey === undefined) {
        this.#emit(step);
      } else {
        variant.traced++;
        this.#emit({ ...step, trace: sparseMessage(rows.code(this.#traceKey, row)) });
      }
      if (variant.finish !== undefined) {
        variant.done = true;
        variant.goOn(rows.result.tokens[row] ?? 0, false);
        return;
      }
    }
    this.#choose(variant, row, rows);
  }

  /** What a variant's edits did is known: its end goes out. Ends the stream after the last. @throws INTERNAL STEERING_NOT_APPLIED. */
  retired(variant: VariantRun, proofs: readonly EditProof[]): void {
    const { proofs: fields, warnings } = proveSteering(`variant ${JSON.stringify(variant.id)}`, variant.placed, variant.selected, proofs);
    const all = [...warnings];
    if (this.plan.withKl && variant.placed.length > 0 && variant !== this.plan.variants[0] && variant.largestKl === 0) {
      all.push("the distributions never differ from the first variant's (KL 0)");
    }
    this.events.push({
      event: {
        case: "finished",
        value: {
          variantId: variant.id,
          finishReason: variant.finish ?? 0,
          usage: {
            promptTokens: this.plan.prompt.ids.length,
            completionTokens: variant.completionTokens,
            cachedTokens: variant.cachedTokens,
            saeTokens: variant.traced,
          },
          steeringAppliedSteps: variant.appliedSteps,
          steeringExpectedSteps: variant.expectedSteps,
          proofs: [...fields],
          warnings: all,
          endedBy: variant.endedBy ?? "",
        },
      },
    });
    this.#finished++;
    if (this.ended) this.events.end();
  }

  #choose(variant: VariantRun, row: number, rows: StepRows): void {
    const { tokens, kl } = rows.result;
    const chosen = variant.choose(tokens[row] ?? 0);
    const nats = kl[row] ?? Number.NaN;
    const step: StepFields = {
      variantId: variant.id,
      step: chosen.step,
      tokenId: chosen.token,
      textDelta: chosen.textDelta,
      ...logprobFields(rows.result, row, this.plan.params.sampling.nLogprobs, this.plan.tokenizer),
      ...(Number.isNaN(nats) ? {} : { klFromBaseline: nats }),
    };
    if (!Number.isNaN(nats)) variant.largestKl = Math.max(variant.largestKl, nats);
    if (this.#readsRows || variant.mayEnd) {
      variant.held = { step, token: chosen.token, finish: chosen.finish };
      return;
    }
    this.#emit(step);
    if (chosen.finish !== undefined) variant.done = true;
  }

  #emit(step: StepFields): void {
    this.events.push({ event: { case: "step", value: step } });
  }

  /** Rows of a shared prefix did not run again: they are the first variant's, since neither edits them. */
  #capturePrompt(result: PrefillResult, rows: StepRows, index: number, variant: VariantRun): void {
    const reused = result.reusedTokens[index] ?? 0;
    const firstReused = result.reusedTokens[0] ?? 0;
    for (const capture of this.plan.captures) {
      for (const [from, to] of runsOf(capture.prompt, capture.width)) {
        for (const [start, end, own] of [
          [from, Math.min(to, reused), false],
          [Math.max(from, reused), to, true],
        ] as const) {
          if (start >= end) continue;
          const base = own ? (result.offsets[index] ?? 0) - reused : (result.offsets[0] ?? 0) - firstReused;
          const value = capturedRows(capture, variant.id, start, rows.residuals(capture.key, base + start, end - start));
          this.events.push({ event: { case: "captured", value } });
        }
      }
    }
  }
}

import { create } from "@bufbuild/protobuf";
import { type Intervention, InterventionSchema, SteeringMethod, StrengthUnit } from "@mistral-sae/contracts/mistral_sae/common/v1/intervention";
import type { PromptInput } from "@mistral-sae/contracts/mistral_sae/common/v1/tokens";
import { internal } from "@mistral-sae/rpc";
import { textNll } from "../generate/nll.ts";
import { type SampledText, sampleTexts } from "../generate/sampled-texts.ts";
import type { Peers } from "../peers.ts";

/** One continuation to sample: every variant continues the same prompts with the same random numbers. */
export interface Sample {
  readonly prompt: PromptInput;
  readonly seed: bigint;
}

/** Limits of the inference service that decide how much runs at a time. */
export interface BatchLimits {
  readonly maxVariants: number;
  readonly maxBatchRows: number;
  readonly maxPrompts: number;
}

/** A text as the durable state of an operation keeps it. */
export interface MeasuredText {
  readonly text: string;
  readonly nllSum: number;
  readonly nllTokens: number;
  readonly appliedSteps: number;
  readonly expectedSteps: number;
  readonly deltaNorm: number;
}

/** The edit that suggestions try: a fraction of the residual's norm along the unit decoder row. */
export function suggestedEdit(sae: string, featureIndex: number, strength: number): Intervention {
  return create(InterventionSchema, {
    id: `feature-${featureIndex}`,
    target: { case: "feature", value: { sae, featureIndex } },
    method: SteeringMethod.ADD,
    strength,
    unit: StrengthUnit.RESID_NORM_FRACTION,
  });
}

/** Samples texts from variants, as many rows at a time as the inference service decodes in one batch. */
export class Measurer {
  readonly #peers: Peers;
  readonly #model: string;
  readonly #limits: BatchLimits;
  readonly #temperature: number;

  constructor(peers: Peers, model: string, limits: BatchLimits, temperature: number) {
    this.#peers = peers;
    this.#model = model;
    this.#limits = limits;
    this.#temperature = temperature;
  }

  /** Texts by variant, in the order of the samples. No variant named here is a baseline: its edits may be none. */
  async texts(
    variants: ReadonlyMap<string, readonly Intervention[]>,
    samples: readonly Sample[],
    maxTokens: number,
    signal: AbortSignal,
  ): Promise<Map<string, SampledText[]>> {
    const ids = [...variants.keys()];
    const width = Math.max(1, Math.min(this.#limits.maxVariants, this.#limits.maxBatchRows));
    const calls: { readonly ids: readonly string[]; readonly sample: number }[] = [];
    for (let start = 0; start < ids.length; start += width) {
      for (const sample of samples.keys()) calls.push({ ids: ids.slice(start, start + width), sample });
    }
    const texts = new Map(ids.map((id) => [id, [] as SampledText[]]));
    const atATime = Math.max(1, Math.floor(this.#limits.maxBatchRows / Math.min(width, ids.length)));
    await forEachInParallel(calls, atATime, signal, async ({ ids: part, sample }, within) => {
      const { prompt, seed } = samples[sample] ?? { prompt: undefined, seed: 0n };
      const request = {
        model: this.#model,
        ...(prompt === undefined ? {} : { prompt }),
        sampling: { temperature: this.#temperature, maxTokens, seed },
        variants: part.map((variantId) => ({ variantId, interventions: [...(variants.get(variantId) ?? [])] })),
      };
      const written = await sampleTexts(this.#peers.inference, request, within);
      for (const id of part) {
        const text = written.get(id);
        if (text === undefined) throw internal("TEXT_MISSING", `the inference service ended without finishing variant "${id}"`);
        const list = texts.get(id);
        if (list !== undefined) list[sample] = text;
      }
    });
    return texts;
  }

  /** Texts with their likelihood under the unsteered model. */
  async scored(texts: readonly SampledText[], signal: AbortSignal): Promise<MeasuredText[]> {
    const scores = await textNll(this.#peers.inference, this.#model, texts, this.#limits.maxPrompts, signal);
    return texts.map(({ text, appliedSteps, expectedSteps, deltaNorm }, i) => ({
      text,
      nllSum: scores[i]?.sum ?? 0,
      nllTokens: scores[i]?.tokens ?? 0,
      appliedSteps,
      expectedSteps,
      deltaNorm,
    }));
  }
}

/** The first failure aborts the others and is thrown when they have ended. */
async function forEachInParallel<T>(
  items: readonly T[],
  width: number,
  signal: AbortSignal,
  work: (item: T, signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const siblings = new AbortController();
  const within = AbortSignal.any([signal, siblings.signal]);
  const queue = items.values();
  let failure: { readonly error: unknown } | undefined;
  const worker = async (): Promise<void> => {
    for (const item of queue) {
      try {
        within.throwIfAborted();
        await work(item, within);
      } catch (error) {
        failure ??= { error };
        siblings.abort(error);
        return;
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(width, items.length) }, worker));
  if (failure !== undefined) throw failure.error;
}

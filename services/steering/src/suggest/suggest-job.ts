import { create } from "@bufbuild/protobuf";
import { type PromptInput, PromptInputSchema } from "@mistral-sae/contracts/mistral_sae/common/v1/tokens";
import {
  type SteeringSuggestion,
  SteeringSuggestionSchema,
  SteeringSuggestionsSchema,
  type SuggestSteeringRequest,
  SuggestSteeringRequestSchema,
} from "@mistral-sae/contracts/mistral_sae/steering/v1/steering";
import { defineJob, type Job } from "@mistral-sae/jobs";
import type { Peers } from "../peers.ts";
import type { SteeringStore } from "../presets/steering-store.ts";
import { chooseSae, modelOf } from "../resolve/sae-choice.ts";
import { readCandidateFeatures } from "./candidate-features.ts";
import { rankCandidates } from "./candidates.ts";
import { type BatchLimits, type MeasuredText, Measurer, type Sample } from "./measure.ts";
import { measureCandidates, type Measured, screenCandidates } from "./search.ts";
import type { SuggestSettings } from "./suggest-settings.ts";
import { suggestionOf } from "./suggestion.ts";

export const suggestKind = "suggest-steering";

/** What the one shard leaves for the result. */
interface Found {
  readonly measured: readonly Measured[];
  readonly nTried: number;
}

/**
 * Finds features that steer: samples the baseline once, ranks features by what the index says, screens the best of
 * them with a few short texts, then measures them fully in that order until enough pass. Each measurement is kept in
 * the operation's state, so that a restart goes on where it was.
 */
export function suggestJob(peers: Peers, store: SteeringStore, settings: SuggestSettings): Job {
  return defineJob({
    kind: suggestKind,
    input: SuggestSteeringRequestSchema,
    output: SteeringSuggestionsSchema,
    plan: async (request, ctx) => [await chooseSae(peers, request.sae, "sae", ctx.signal)],
    run: async (sae: string, ctx): Promise<Found> => {
      const request = ctx.input;
      const { signal } = ctx;
      const limits = await batchLimits(peers, modelOf(sae), signal);
      const measurer = new Measurer(peers, modelOf(sae), limits, settings.temperature);
      const samples = samplesOf(request, settings);
      const maxTokens = request.maxTokens || settings.maxTokens;

      let baseline = ctx.state.get("baseline") as readonly MeasuredText[] | undefined;
      if (baseline === undefined) {
        ctx.progress({ stage: "baseline", doneUnits: 0, totalUnits: samples.length, unit: "texts" });
        const texts = await measurer.texts(new Map([["baseline", []]]), samples, maxTokens, signal);
        baseline = await measurer.scored(texts.get("baseline") ?? [], signal);
        ctx.state.set("baseline", baseline);
      }
      const features = await readCandidateFeatures(peers, sae, request.featureIndices, settings, signal);
      const chosen = request.featureIndices.length > 0 ? { ...settings, mostDense: 1, leastFirings: 1, maxCandidates: features.length } : settings;
      const candidates = rankCandidates(features, baseline.map(({ text }) => text), chosen);
      const search = { sae, candidates, samples, maxTokens, baseline, measurer, settings, ctx };
      const screened = await screenCandidates(search);
      const measured = await measureCandidates(search, screened, request.numFeatures || settings.numFeatures);
      return { measured, nTried: candidates.length };
    },
    reduce: async (request, [found], ctx) => {
      const baseline = ctx.state.get("baseline") as readonly MeasuredText[];
      const samples = samplesOf(request, settings);
      const suggestions: SteeringSuggestion[] = (found?.measured ?? [])
        .filter(({ best }) => best !== undefined)
        .map((measured) => create(SteeringSuggestionSchema, suggestionOf(measured, baseline, samples)))
        .sort((a, b) => b.lift - a.lift || (a.feature?.featureIndex ?? 0) - (b.feature?.featureIndex ?? 0));
      const wanted = request.numFeatures || settings.numFeatures;
      if (suggestions.length < wanted) {
        ctx.warn(`${suggestions.length} of ${wanted} features were found that reach a lift of ${settings.leastLift} within ${settings.mostNllRise} nats of the baseline`);
      }
      store.keepSuggestions(suggestions);
      return { suggestions, nTried: found?.nTried ?? 0 };
    },
  });
}

async function batchLimits(peers: Peers, model: string, signal: AbortSignal): Promise<BatchLimits> {
  const { limits } = await peers.inference.getCapabilities({ model }, { signal });
  return {
    maxVariants: limits?.maxVariants || 16,
    maxBatchRows: limits?.maxBatchRows || 16,
    maxPrompts: limits?.maxPrompts || 64,
  };
}

/** The prompts in turn, each time with the next seed. */
function samplesOf(request: SuggestSteeringRequest, settings: SuggestSettings): Sample[] {
  const prompts: PromptInput[] =
    request.prompts.length > 0 ? request.prompts : settings.prompts.map((text) => create(PromptInputSchema, { prompt: { case: "text", value: text } }));
  return Array.from({ length: request.numSamples || settings.numSamples }, (_, i) => ({
    prompt: prompts[i % prompts.length] as PromptInput,
    seed: BigInt.asUintN(64, request.seed + BigInt(i)),
  }));
}

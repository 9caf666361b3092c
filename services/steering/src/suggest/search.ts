import type { JobContext } from "@mistral-sae/jobs";
import type { Candidate } from "./candidates.ts";
import { countConcept, smoothedRate } from "./concept.ts";
import { bestStrength, judge, type StrengthResult } from "./judge.ts";
import { type MeasuredText, type Measurer, type Sample, suggestedEdit } from "./measure.ts";
import type { SuggestSettings } from "./suggest-settings.ts";

/** What a search works with. */
export interface Search {
  readonly sae: string;
  readonly candidates: readonly Candidate[];
  readonly samples: readonly Sample[];
  readonly maxTokens: number;
  readonly baseline: readonly MeasuredText[];
  readonly measurer: Measurer;
  readonly settings: SuggestSettings;
  readonly ctx: JobContext;
}

/** A feature measured at every strength. */
export interface Measured {
  readonly sae: string;
  readonly candidate: Candidate;
  readonly results: readonly StrengthResult[];
  /** Absent when no strength passes. */
  readonly best?: StrengthResult;
  /** Texts at the best strength, in the order of the samples. */
  readonly texts: readonly MeasuredText[];
}

/** The candidates by the rate of their concept's words in a few short steered texts, best first. */
export async function screenCandidates(search: Search): Promise<Candidate[]> {
  const { sae, candidates, samples, measurer, settings, ctx } = search;
  const kept = ctx.state.get("screened") as readonly number[] | undefined;
  const byFeature = new Map(candidates.map((candidate) => [candidate.featureIndex, candidate]));
  if (kept !== undefined) return kept.flatMap((feature) => byFeature.get(feature) ?? []);
  ctx.progress({ stage: "screen", doneUnits: 0, totalUnits: candidates.length, unit: "features" });
  const edits = new Map(candidates.map(({ featureIndex }) => [String(featureIndex), [suggestedEdit(sae, featureIndex, settings.screenStrength)]]));
  const texts = await measurer.texts(edits, samples.slice(0, settings.screenSamples), settings.screenTokens, ctx.signal);
  const ranked = candidates
    .map((candidate, rank) => {
      const steered = (texts.get(String(candidate.featureIndex)) ?? []).map(({ text }) => text);
      return { candidate, rank, rate: smoothedRate(countConcept(steered, new Set(candidate.concept))) };
    })
    .sort((a, b) => b.rate - a.rate || a.rank - b.rank)
    .map(({ candidate }) => candidate);
  ctx.state.set("screened", ranked.map(({ featureIndex }) => featureIndex));
  ctx.progress({ stage: "screen", doneUnits: candidates.length, totalUnits: candidates.length, unit: "features" });
  return ranked;
}

/** Measures candidates in their order until `wanted` of them pass. */
export async function measureCandidates(search: Search, candidates: readonly Candidate[], wanted: number): Promise<Measured[]> {
  const { ctx } = search;
  const measured: Measured[] = [];
  let passed = 0;
  for (const candidate of candidates) {
    if (passed >= wanted) break;
    ctx.progress({ stage: "measure", doneUnits: passed, totalUnits: wanted, unit: "features" });
    const key = `measured:${candidate.featureIndex}`;
    const kept = ctx.state.get(key) as Measured | undefined;
    const result = kept ?? (await measureOne(search, candidate));
    if (kept === undefined) ctx.state.set(key, result);
    measured.push(result);
    if (result.best !== undefined) passed += 1;
  }
  ctx.progress({ stage: "measure", doneUnits: passed, totalUnits: wanted, unit: "features" });
  return measured;
}

async function measureOne(search: Search, candidate: Candidate): Promise<Measured> {
  const { sae, samples, maxTokens, baseline, measurer, settings, ctx } = search;
  const edits = new Map(settings.strengths.map((strength) => [String(strength), [suggestedEdit(sae, candidate.featureIndex, strength)]]));
  const texts = await measurer.texts(edits, samples, maxTokens, ctx.signal);
  const written = settings.strengths.flatMap((strength) => texts.get(String(strength)) ?? []);
  const scored = await measurer.scored(written, ctx.signal);
  const of = (i: number): MeasuredText[] => scored.slice(i * samples.length, (i + 1) * samples.length);
  const results = settings.strengths.map((strength, i) => judge(strength, candidate.concept, baseline, of(i), settings));
  const best = bestStrength(results);
  return {
    sae,
    candidate,
    results,
    ...(best === undefined ? {} : { best }),
    texts: best === undefined ? [] : of(settings.strengths.indexOf(best.strength)),
  };
}

import type { MessageInitShape } from "@bufbuild/protobuf";
import { StrengthUnit } from "@mistral-sae/contracts/mistral_sae/common/v1/intervention";
import type { PromptInput } from "@mistral-sae/contracts/mistral_sae/common/v1/tokens";
import type { SteeringSuggestionSchema } from "@mistral-sae/contracts/mistral_sae/steering/v1/steering";
import { countConcept } from "./concept.ts";
import { meanNllOf, typicalSample } from "./judge.ts";
import type { MeasuredText, Sample } from "./measure.ts";
import type { Measured } from "./search.ts";

/** A measured feature that passed, as callers get it. */
export function suggestionOf(
  { sae, candidate, best, texts }: Measured,
  baseline: readonly MeasuredText[],
  samples: readonly Sample[],
): MessageInitShape<typeof SteeringSuggestionSchema> {
  const { featureIndex, description, concept } = candidate;
  const base = countConcept(baseline.map(({ text }) => text), new Set(concept));
  const shown = typicalSample(concept, texts);
  const sum = (key: "appliedSteps" | "expectedSteps"): bigint => BigInt(texts.reduce((total, text) => total + text[key], 0));
  return {
    feature: { sae, featureIndex },
    description,
    conceptWords: [...concept],
    strength: best?.strength ?? 0,
    unit: StrengthUnit.RESID_NORM_FRACTION,
    resolvedStrength: texts.length === 0 ? 0 : texts.reduce((total, { deltaNorm }) => total + deltaNorm, 0) / texts.length,
    baseline: { nConcept: BigInt(base.n), nWords: BigInt(base.total) },
    steered: { nConcept: BigInt(best?.count.n ?? 0), nWords: BigInt(best?.count.total ?? 0) },
    lift: best?.lift ?? 0,
    baselineNll: meanNllOf(baseline),
    steeredNll: best?.nll ?? 0,
    prompt: promptText(samples[shown]?.prompt),
    baselineText: baseline[shown]?.text ?? "",
    steeredText: texts[shown]?.text ?? "",
    appliedSteps: sum("appliedSteps"),
    expectedSteps: sum("expectedSteps"),
  };
}

function promptText(prompt: PromptInput | undefined): string {
  switch (prompt?.prompt.case) {
    case "text":
      return prompt.prompt.value;
    case "tokens":
      return prompt.prompt.value.strTokens.join("");
    case "chat":
      return prompt.prompt.value.messages.at(-1)?.content ?? "";
    default:
      return "";
  }
}

import type { MessageInitShape } from "@bufbuild/protobuf";
import type { MethodDescriptionSchema } from "@mistral-sae/contracts/mistral_sae/explanation/v1/explanation";
import { localSummaryType } from "./explainers/explain-settings.ts";
import { llmExplainers } from "./explainers/registry.ts";
import type { Endpoints } from "./llm/endpoints.ts";
import { scorers } from "./scorers/scorer.ts";

type Description = MessageInitShape<typeof MethodDescriptionSchema>;

/** The methods of explaining. */
export function explanationTypes(endpoints: Endpoints): Description[] {
  return [
    {
      type: localSummaryType,
      description: "Counts from the index put into a sentence: firing tokens, contexts, promoted and suppressed tokens; no language model",
      available: true,
    },
    ...llmExplainers.map(({ type, description }) => byLanguageModel(type, description, endpoints)),
  ];
}

/** Scorers of the contract that are not offered, with what they do. */
const notOffered: readonly (readonly [string, string])[] = [
  ["simulation", "A language model foretells each token's activation"],
  ["embedding", "Embeddings of the explanation and of passages are compared"],
  ["intruder", "A language model finds the passage that does not belong"],
  ["intervention", "A language model tells what steering by the feature changed"],
  ["generation", "Text written from the explanation has to fire the feature"],
];

/** The scorers. */
export function scoreTypes(endpoints: Endpoints): Description[] {
  return [
    ...scorers.map(({ name, description }) => byLanguageModel(name, description, endpoints)),
    ...notOffered.map(([type, description]) => ({
      type,
      description,
      available: false,
      unavailableReason: "this version does not offer it",
      needsLlm: type !== "embedding",
    })),
  ];
}

function byLanguageModel(type: string, description: string, endpoints: Endpoints): Description {
  return { type, description, available: endpoints.any, unavailableReason: endpoints.unavailableReason, needsLlm: true };
}

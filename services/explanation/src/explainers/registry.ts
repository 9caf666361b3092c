import { createHash } from "node:crypto";
import { invalidArgument } from "@mistral-sae/rpc";
import { actsTop20 } from "./acts-top20.ts";
import type { Explainer } from "./explainer.ts";
import { localSummaryType } from "./explain-settings.ts";
import { maxActLogits } from "./max-act-logits.ts";
import { tokenActPair } from "./token-act-pair.ts";

/** The methods that ask a language model. */
export const llmExplainers: readonly Explainer[] = [actsTop20, maxActLogits, tokenActPair];

/** The schema that every explainer's reply has to follow. */
export const explanationReply = {
  name: "explanation",
  schema: {
    type: "object",
    properties: { explanation: { type: "string" } },
    required: ["explanation"],
    additionalProperties: false,
  },
} as const;

/** Template of the local summary: what its sentence is made of. Renamed whenever the sentence changes. */
export const localTemplateId = "local-summary-v1";

/** The explainer of a type; undefined for the local summary. Throws INVALID_ARGUMENT for an unknown type. */
export function explainerOf(type: string): Explainer | undefined {
  if (type === localSummaryType) return undefined;
  const explainer = llmExplainers.find((known) => known.type === type);
  if (explainer === undefined) {
    const names = [localSummaryType, ...llmExplainers.map((known) => known.type)].join(", ");
    throw invalidArgument("config.explanation_type", `got "${type}", wanted one of: ${names}`);
  }
  return explainer;
}

/** Id and SHA-256 of the template behind an explainer: its fixed words and its reply's schema. */
export function templateOf(explainer: Explainer | undefined): { readonly templateId: string; readonly templateSha256: string } {
  const id = explainer?.templateId ?? localTemplateId;
  const text = explainer === undefined ? id : JSON.stringify([id, explainer.system, explanationReply.schema]);
  return { templateId: id, templateSha256: createHash("sha256").update(text).digest("hex") };
}

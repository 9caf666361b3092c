import { createHash } from "node:crypto";
import { invalidArgument, matchName, parseName } from "@mistral-sae/rpc";

/** A feature by its SAE's resource name and its row. */
export interface FeatureKey {
  /** models/{model}/saes/{sae}. */
  readonly sae: string;
  readonly feature: number;
}

/** An explanation of a feature. */
export interface ExplanationKey extends FeatureKey {
  /** Last segment of the explanation's name. */
  readonly id: string;
}

const featurePattern = "models/{model}/saes/{sae}/features/{feature}";
const largestIndex = 2 ** 32 - 1;

export function featureName({ sae, feature }: FeatureKey): string {
  return `${sae}/features/${feature}`;
}

export function explanationName(key: ExplanationKey): string {
  return `${featureName(key)}/explanations/${key.id}`;
}

/** Checks models/{model}/saes/{sae}. */
export function parseSae(name: string, field: string): string {
  parseName("models/{model}/saes/{sae}", name, field);
  return name;
}

export function parseFeature(name: string, field: string): FeatureKey {
  const { model, sae, feature } = parseName(featurePattern, name, field);
  return { sae: `models/${model}/saes/${sae}`, feature: featureIndex(feature, field) };
}

export function parseExplanation(name: string, field: string): ExplanationKey {
  const { model, sae, feature, explanation } = parseName(`${featurePattern}/explanations/{explanation}`, name, field);
  return { sae: `models/${model}/saes/${sae}`, feature: featureIndex(feature, field), id: explanation };
}

/** An SAE, or one feature of it. */
export function parseParent(name: string, field: string): { readonly sae: string; readonly feature: number | undefined } {
  if (matchName(featurePattern, name) !== undefined) return parseFeature(name, field);
  return { sae: parseSae(name, field), feature: undefined };
}

/** An id that stands for what an explanation or a score was made by: `{type}-{hash}`. */
export function contentId(type: string, ...content: readonly string[]): string {
  const slug = type.toLowerCase().replaceAll(/[^a-z0-9]+/g, "-").slice(0, 40);
  return `${slug}-${createHash("sha256").update(JSON.stringify([type, ...content])).digest("hex").slice(0, 16)}`;
}

function featureIndex(text: string, field: string): number {
  const index = /^(0|[1-9][0-9]*)$/.test(text) ? Number(text) : Number.NaN;
  if (!(index <= largestIndex)) throw invalidArgument(field, `got features/${text}, wanted the row of a feature`, "INVALID_NAME");
  return index;
}

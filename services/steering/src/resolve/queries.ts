import { create } from "@bufbuild/protobuf";
import { FeatureRefSchema, type Intervention, InterventionSchema, SteeringMethod, StrengthUnit } from "@mistral-sae/contracts/mistral_sae/common/v1/intervention";
import type { Feature } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature";
import { type FeatureQuery, FoundFeatureSchema, type FoundFeature, type ResolvedQuery, ResolvedQuerySchema } from "@mistral-sae/contracts/mistral_sae/steering/v1/steering";
import { invalidArgument, notFound } from "@mistral-sae/rpc";
import type { Peers } from "../peers.ts";
import type { SteeringStore } from "../presets/steering-store.ts";
import { chooseSae } from "./sae-choice.ts";

/** Strength of features that were never measured, by unit: a good middle of what steers without breaking. */
const unmeasuredStrength: ReadonlyMap<StrengthUnit, number> = new Map([
  [StrengthUnit.RESID_NORM_FRACTION, 0.35],
  [StrengthUnit.MAX_ACTIVATION, 1],
]);

/** The features that words describe, best first. */
export async function findFeatures(peers: Peers, sae: string, query: string, numResults: number, signal: AbortSignal): Promise<FoundFeature[]> {
  if (query.trim() === "") throw invalidArgument("query", "got nothing, wanted words");
  const { hits } = await peers.index.searchExplanations({ parent: sae, query, pageSize: numResults }, { signal });
  return hits.flatMap(({ feature, value }) => (feature === undefined ? [] : [found(sae, feature, value)]));
}

/** A query as an intervention on the feature that it finds. Throws NOT_FOUND when it finds none. */
export async function resolveQuery(
  query: FeatureQuery,
  variantId: string,
  field: string,
  id: string,
  peers: Peers,
  store: SteeringStore,
  signal: AbortSignal,
): Promise<{ readonly intervention: Intervention; readonly resolved: ResolvedQuery }> {
  const sae = await chooseSae(peers, query.sae, `${field}.sae`, signal);
  if (query.query.trim() === "") throw invalidArgument(`${field}.query`, "got nothing, wanted words");
  const [best] = await findFeatures(peers, sae, query.query, 1, signal);
  if (best?.feature === undefined) throw notFound(`a feature of ${sae} for "${query.query}"`, "no explanation and no token matches; try other words");
  const suggested = store.suggestion(sae, best.feature.featureIndex);
  const method = query.method === SteeringMethod.UNSPECIFIED ? SteeringMethod.ADD : query.method;
  const unit = query.unit === StrengthUnit.UNSPECIFIED ? StrengthUnit.RESID_NORM_FRACTION : query.unit;
  const measured = suggested?.unit === unit && method === SteeringMethod.ADD ? suggested.strength : undefined;
  const strength = query.strength ?? measured ?? unmeasuredStrength.get(unit);
  if (strength === undefined) throw invalidArgument(`${field}.strength`, "got nothing, wanted a strength: none is suggested in RAW");
  const intervention = create(InterventionSchema, { id, target: { case: "feature", value: best.feature }, method, strength, unit });
  const resolved = create(ResolvedQuerySchema, { variantId, query: query.query, feature: best.feature, description: best.description, strength, unit });
  return { intervention, resolved };
}

function found(sae: string, feature: Feature, value: number): FoundFeature {
  return create(FoundFeatureSchema, {
    feature: create(FeatureRefSchema, { sae, featureIndex: feature.featureIndex }),
    description: feature.explanations[0]?.description ?? "",
    value,
    topTokens: feature.topTokens.map(({ strToken }) => strToken),
    maxActivation: feature.maxActivation,
  });
}

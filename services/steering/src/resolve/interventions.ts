import { clone, create } from "@bufbuild/protobuf";
import { type FeatureRef, type Intervention, InterventionSchema, SteeringMethod, StrengthUnit } from "@mistral-sae/contracts/mistral_sae/common/v1/intervention";
import { FeatureView } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature";
import { failedPrecondition, invalidArgument } from "@mistral-sae/rpc";
import type { Peers } from "../peers.ts";
import { presetId } from "../presets/preset-handlers.ts";
import type { SteeringStore } from "../presets/steering-store.ts";
import { featureName } from "./sae-choice.ts";

/** Methods whose strength may be given in multiples of the feature's largest activation. */
const activationMethods = new Set<SteeringMethod>([SteeringMethod.ADD, SteeringMethod.FEATURE_SET, SteeringMethod.FEATURE_ADD]);

/**
 * What inference does not know: presets become their interventions, and strengths in MAX_ACTIVATION become raw ones
 * by the index's statistics. Everything else goes on as it came.
 */
export async function resolveInterventions(
  interventions: readonly Intervention[],
  field: string,
  peers: Peers,
  store: SteeringStore,
  signal: AbortSignal,
): Promise<Intervention[]> {
  const expanded = interventions.flatMap((intervention, i) => expandPreset(intervention, `${field}[${i}]`, i, store));
  const resolved: Intervention[] = [];
  for (const { intervention, at } of expanded) {
    resolved.push(intervention.unit === StrengthUnit.MAX_ACTIVATION ? await inActivations(intervention, at, peers, signal) : intervention);
  }
  return resolved;
}

function expandPreset(intervention: Intervention, at: string, i: number, store: SteeringStore): { intervention: Intervention; at: string }[] {
  if (intervention.target.case !== "preset") return [{ intervention, at }];
  const name = intervention.target.value;
  const bare = create(InterventionSchema, { id: intervention.id, target: { case: "preset", value: name } });
  const extra = Object.entries(intervention).find(([key, value]) => !isSame(value, bare[key as keyof Intervention]));
  if (extra !== undefined) {
    throw invalidArgument(`${at}.${snake(extra[0])}`, `got a value beside ${name}, wanted none: a preset brings its own`);
  }
  const prefix = intervention.id === "" ? `i${i}` : intervention.id;
  return store.get(presetId(name, `${at}.preset`)).interventions.map((stored, j) => {
    const copy = clone(InterventionSchema, stored);
    copy.id = `${prefix}/${stored.id === "" ? j : stored.id}`;
    return { intervention: copy, at };
  });
}

/**
 * FEATURE_SET and FEATURE_ADD take c = s max(f). ADD of s max(f) activations is that much of the decoder row through
 * the SAE's own decode, which FEATURE_ADD without a floor does for every input normalisation.
 */
async function inActivations(intervention: Intervention, at: string, peers: Peers, signal: AbortSignal): Promise<Intervention> {
  const { method, strength, target } = intervention;
  if (!activationMethods.has(method)) {
    throw invalidArgument(`${at}.unit`, "got MAX_ACTIVATION, wanted another unit: only ADD, FEATURE_SET and FEATURE_ADD take it", "STEERING_FIELD_NOT_APPLICABLE");
  }
  if (target.case !== "feature") throw invalidArgument(`${at}.target`, `got ${target.case ?? "nothing"}, wanted a feature for MAX_ACTIVATION`);
  if (strength === undefined) throw invalidArgument(`${at}.strength`, "got nothing, wanted multiples of the largest activation");
  const max = await maxActivation(target.value, peers, signal);
  const resolved = clone(InterventionSchema, intervention);
  resolved.unit = StrengthUnit.RAW;
  resolved.strength = strength * max;
  if (method === SteeringMethod.ADD) {
    if (intervention.normalize === true) {
      throw invalidArgument(`${at}.normalize`, "got true, wanted it unset: MAX_ACTIVATION counts the decoder row as it is", "STEERING_FIELD_NOT_APPLICABLE");
    }
    resolved.method = SteeringMethod.FEATURE_ADD;
    resolved.allowNegative = true;
    delete resolved.normalize;
  }
  return resolved;
}

async function maxActivation({ sae, featureIndex }: FeatureRef, peers: Peers, signal: AbortSignal): Promise<number> {
  const name = featureName(sae, featureIndex);
  const { feature } = await peers.index.getFeature({ name, view: FeatureView.BASIC }, { signal });
  if (feature === undefined || !(feature.maxActivation > 0)) {
    throw failedPrecondition("MAX_ACTIVATION_UNKNOWN", `${name} has no largest activation in the index: give the strength as RAW or RESID_NORM_FRACTION`);
  }
  return feature.maxActivation;
}

function isSame(value: unknown, bare: unknown): boolean {
  if (Array.isArray(value)) return value.length === 0;
  if (typeof value === "object" && value !== null && "case" in value) return true;
  return value === bare || value === undefined;
}

function snake(camel: string): string {
  return camel.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

import { fromJson, type JsonValue, type MessageInitShape } from "@bufbuild/protobuf";
import { type Intervention, InterventionSchema, SteeringMethod, StrengthUnit } from "@mistral-sae/contracts/mistral_sae/common/v1/intervention";
import type { FeatureTraceSchema } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import { type FeatureQuery, FeatureQuerySchema } from "@mistral-sae/contracts/mistral_sae/steering/v1/steering";
import { badField } from "./errors.ts";
import { Fields } from "./fields.ts";

/** The `steering` extension, read. */
export interface Steering {
  readonly interventions: readonly Intervention[];
  readonly queries: readonly FeatureQuery[];
  /** Whether the steering service has to resolve something: presets, words, units of indexed activations. */
  readonly needsService: boolean;
}

export type Trace = Exclude<MessageInitShape<typeof FeatureTraceSchema>, { $typeName: string }>;

/** The full name of an SAE; the only one that is loaded when none is named. */
export type SaeNamer = (field: string, sae: string | undefined) => Promise<string>;

/**
 * Entries are Intervention messages in their JSON form, `{feature, sae, strength, method, unit}` with a feature's
 * number, or `{query, strength}` with words. Of the short forms the method is ADD and the unit RESID_NORM_FRACTION.
 */
export async function readSteering(fields: Fields, nameSae: SaeNamer): Promise<Steering> {
  const interventions: Intervention[] = [];
  const queries: FeatureQuery[] = [];
  for (const [i, entry] of (fields.array("steering") ?? []).entries()) {
    const own = new Fields(entry, `steering[${i}]`);
    if (own.has("query")) queries.push(parse(() => fromJson(FeatureQuerySchema, withNames(entry)), own.at("query")));
    else if (typeof own.value("feature") === "number") interventions.push(await readFeature(own, nameSae, i));
    else interventions.push(parse(() => fromJson(InterventionSchema, { id: `steering-${i}`, ...(withNames(entry) as Record<string, JsonValue>) }), `steering[${i}]`));
  }
  const needsService = queries.length > 0 || interventions.some(({ target, unit }) => target.case === "preset" || unit === StrengthUnit.MAX_ACTIVATION);
  return { interventions, queries, needsService };
}

async function readFeature(own: Fields, nameSae: SaeNamer, i: number): Promise<Intervention> {
  const featureIndex = own.integer("feature", 0, 2 ** 32 - 1) ?? 0;
  const sae = await nameSae(own.at("sae"), own.string("sae"));
  const strength = own.number("strength");
  const short = withNames({ method: own.string("method") ?? "ADD", unit: own.string("unit") ?? "RESID_NORM_FRACTION" });
  own.finish();
  if (strength === undefined) throw badField(own.at("strength"), "is required", "missing_required_parameter");
  const json = { id: `steering-${i}`, feature: { sae, featureIndex }, strength, ...(short as Record<string, JsonValue>) };
  return parse(() => fromJson(InterventionSchema, json), `steering[${i}]`);
}

/** Enum values may come without their prefix. */
function withNames(entry: unknown): JsonValue {
  const json = { ...(entry as Record<string, JsonValue>) };
  const full = (field: string, prefix: string, names: object): void => {
    const value = json[field];
    if (typeof value === "string" && Object.hasOwn(names, value.toUpperCase())) json[field] = `${prefix}_${value.toUpperCase()}`;
  };
  full("method", "STEERING_METHOD", SteeringMethod);
  full("unit", "STRENGTH_UNIT", StrengthUnit);
  return json;
}

function parse<T>(read: () => T, param: string): T {
  try {
    return read();
  } catch (error) {
    throw badField(param, error instanceof Error ? error.message : String(error));
  }
}

/** The `features` extension: true, or `{sae, top_k}` or `{sae, feature_indices}`. */
export async function readTrace(fields: Fields, nameSae: SaeNamer): Promise<Trace | undefined> {
  const value = fields.value("features");
  if (value === undefined || value === false) return undefined;
  const own = new Fields(value === true ? {} : value, "features");
  const sae = await nameSae(own.at("sae"), own.string("sae"));
  const topK = own.integer("top_k", 0, 2 ** 31) ?? 0;
  const featureIndices = (own.array("feature_indices") ?? []).map((index, i) => {
    if (typeof index === "number" && Number.isSafeInteger(index) && index >= 0 && index < 2 ** 32) return index;
    throw badField(own.at(`feature_indices[${i}]`), `got ${JSON.stringify(index)}, wanted the number of a feature`);
  });
  own.finish();
  return { sae, topK, featureIndices };
}

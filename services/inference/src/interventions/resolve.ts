import { createHash } from "node:crypto";
import {
  ConflictPolicy,
  type Direction as DirectionMessage,
  type Intervention,
  StrengthUnit,
} from "@mistral-sae/contracts/mistral_sae/common/v1/intervention";
import type { Direction, Edit, EditBase, EditCondition } from "@mistral-sae/model";
import { invalidArgument } from "@mistral-sae/rpc";
import { bytesOf } from "@mistral-sae/tensor";
import { readFloats } from "../wire/tensor.ts";
import { readConditions } from "./conditions.ts";
import { featureOf, type ResolveContext, type SaeTarget } from "./context.ts";
import { checkFields, methodOf } from "./fields.ts";
import { siteOf, writableHook } from "./hooks.ts";
import type { FeatureMethod, Method, ReconstructMethod, VectorMethod } from "./methods.ts";

export type { ResolveContext, SaeTarget } from "./context.ts";

/** An intervention with its hook and target resolved, not yet placed in a prompt. */
export interface ResolvedIntervention {
  /** Path in the request. */
  readonly field: string;
  readonly id: string;
  readonly source: Intervention;
  readonly method: Method;
  readonly hookName: string;
  /** Features and directions it edits, as far as they can collide with those of others. */
  readonly touches: readonly string[];
  readonly conflict: ConflictPolicy;
  readonly conditions: readonly EditCondition[];
  /** The edit with where it applies still to be filled in. */
  edit(base: EditBase): Edit;
}

/**
 * Resolves interventions: methods, targets, hooks, units and defaults.
 *
 * @throws INVALID_ARGUMENT, NOT_FOUND or FAILED_PRECONDITION naming the field, what was got and what was wanted.
 */
export function resolveInterventions(field: string, interventions: readonly Intervention[], context: ResolveContext): ResolvedIntervention[] {
  const resolved = interventions.map((intervention, i) => resolveOne(`${field}[${i}]`, intervention, i, context));
  const seen = new Set<string>();
  for (const { id, field: at } of resolved) {
    if (seen.has(id)) throw invalidArgument(`${at}.id`, `got ${JSON.stringify(id)} twice, wanted ids that differ`);
    seen.add(id);
  }
  return resolved;
}

function resolveOne(field: string, source: Intervention, index: number, context: ResolveContext): ResolvedIntervention {
  const method = methodOf(field, source);
  checkFields(field, source, method);
  const common = {
    field,
    id: source.id === "" ? `i${index}` : source.id,
    source,
    method,
    conflict: source.conflict === ConflictPolicy.UNSPECIFIED ? ConflictPolicy.ERROR : source.conflict,
  };
  const resolved = resolveTarget(field, source, method, context);
  return { ...common, ...resolved, conditions: readConditions(`${field}.conditions`, source.conditions, resolved.hookName, context) };
}

type Resolved = Pick<ResolvedIntervention, "hookName" | "touches" | "edit">;

function resolveTarget(field: string, source: Intervention, method: Method, context: ResolveContext): Resolved {
  switch (method.kind) {
    case "vector":
      return resolveVector(field, source, method, context);
    case "feature":
      return resolveFeature(field, source, method, context);
    default:
      return resolveReconstruct(field, source, method, context);
  }
}

function resolveVector(field: string, source: Intervention, { method, label }: VectorMethod, context: ResolveContext): Resolved {
  const { target } = source;
  const zeroAllowed = method === "replace";
  let hookName: string;
  let direction: Direction;
  let touched: string;
  if (target.case === "feature") {
    const { sae, feature } = featureOf(`${field}.feature`, target.value, context);
    hookName = writableHook(`${field}.feature.sae`, sae.hookName, context.info).hookName;
    direction = { sae: sae.engineName, feature };
    touched = featureKey(sae, feature);
  } else if (target.case === "direction") {
    hookName = writableHook(`${field}.direction.hook_name`, target.value.hookName, context.info).hookName;
    direction = directionOf(`${field}.direction.vector`, target.value, context.info.dModel, zeroAllowed);
    touched = vectorKey(direction);
  } else {
    throw wrongTarget(field, source, label, "feature or direction");
  }
  const swapTarget = source.swapTarget === undefined ? undefined : swapTargetOf(`${field}.swap_target`, source.swapTarget, hookName, context);
  if (swapTarget !== undefined && direction instanceof Float32Array && direction.every((value, i) => value === swapTarget[i])) {
    throw invalidArgument(`${field}.swap_target`, `got the direction itself, with which ${label} changes nothing, wanted another`, "STEERING_NO_EFFECT");
  }
  const site = siteOf(hookName);
  return {
    hookName,
    touches: [touched, ...(swapTarget === undefined ? [] : [vectorKey(swapTarget)])].map((key) => `${site} ${key}`),
    edit: (base) => ({
      ...base,
      method,
      direction,
      ...defined("strength", source.strength),
      ...(source.unit === StrengthUnit.RESID_NORM_FRACTION ? { unit: "resid_norm_fraction" as const } : {}),
      ...defined("normalize", source.normalize),
      ...defined("min", source.min),
      ...defined("max", source.max),
      ...defined("maxFraction", source.maxFraction),
      ...defined("swapTarget", swapTarget),
    }),
  };
}

function resolveFeature(field: string, source: Intervention, { method, label }: FeatureMethod, context: ResolveContext): Resolved {
  if (source.target.case !== "feature") throw wrongTarget(field, source, label, "feature");
  const { sae, feature } = featureOf(`${field}.feature`, source.target.value, context);
  const { hookName } = writableHook(`${field}.feature.sae`, sae.hookName, context.info);
  return {
    hookName,
    touches: [`${siteOf(hookName)} ${featureKey(sae, feature)}`],
    edit: (base) => ({
      ...base,
      method,
      sae: sae.engineName,
      feature,
      ...defined("strength", source.strength),
      ...defined("min", source.min),
      ...defined("max", source.max),
      ...defined("keepErrorTerm", source.keepErrorTerm),
      ...(source.allowNegative ? { allowNegative: true } : {}),
    }),
  };
}

function resolveReconstruct(field: string, source: Intervention, { method, label }: ReconstructMethod, context: ResolveContext): Resolved {
  if (source.target.case !== "sae") throw wrongTarget(field, source, label, "sae");
  const sae = context.sae(`${field}.sae`, source.target.value);
  const { hookName } = writableHook(`${field}.sae`, sae.hookName, context.info);
  return {
    hookName,
    touches: [`${siteOf(hookName)} reconstruct ${sae.engineName}`],
    edit: (base) => ({ ...base, method, sae: sae.engineName }),
  };
}

function directionOf(field: string, { vector }: DirectionMessage, dModel: number, zeroAllowed: boolean): Float32Array {
  const values = readFloats(field, vector, [dModel]);
  if (!zeroAllowed && values.every((value) => value === 0)) {
    throw invalidArgument(field, "got a vector of zeros, wanted a direction", "DIRECTION_ZERO");
  }
  return values;
}

function swapTargetOf(field: string, target: DirectionMessage, hookName: string, { info }: ResolveContext): Float32Array {
  if (target.hookName !== "" && siteOf(target.hookName) !== siteOf(hookName)) {
    throw invalidArgument(`${field}.hook_name`, `got ${target.hookName}, wanted ${hookName}, the hook of the target, or none`);
  }
  return directionOf(`${field}.vector`, target, info.dModel, false);
}

function wrongTarget(field: string, { target }: Intervention, label: string, wanted: string): Error {
  const hint = target.case === "preset" ? "; presets are resolved by the steering service" : "";
  return invalidArgument(`${field}.target`, `got ${target.case ?? "none"}, wanted ${wanted} for ${label}${hint}`);
}

function featureKey(sae: SaeTarget, feature: number): string {
  return `feature ${sae.engineName}#${feature}`;
}

function vectorKey(direction: Direction): string {
  if (!(direction instanceof Float32Array)) return `feature ${direction.sae}#${direction.feature}`;
  return `vector ${createHash("sha256").update(bytesOf(direction)).digest("base64")}`;
}

function defined<K extends string, V>(key: K, value: V | undefined): { readonly [P in K]?: V } {
  return value === undefined ? {} : ({ [key]: value } as { readonly [P in K]: V });
}

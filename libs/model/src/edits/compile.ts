import { residualPoint } from "../hooks/hook-name.ts";
import type { SaeRuntime } from "../sae/sae-runtime.ts";
import type { Direction, Edit, FeatureEdit, VectorEdit } from "./edit.ts";
import { compileGate, type ConditionContext, type Probe } from "./conditions.ts";
import { fault } from "./fault.ts";
import { activationFormula } from "./feature-formulas.ts";
import { FeatureGroup, type FeatureStep } from "./feature-group.ts";
import type { Addition, CompiledEdits, CompiledStep, VectorStep } from "./steps.ts";
import { add, addFraction, length, normScaledAdd, orthogonal, projectionCap, replace, swap, unit, type RowFormula } from "./vector-formulas.ts";

/** What edits refer to. */
export interface EditContext extends ConditionContext {
  readonly dModel: number;
}

/**
 * Checks edits and resolves their hooks, directions and SAEs. Throws InputError naming the edit and its field.
 * Formulas: Edit's own documentation.
 */
export function compileEdits(edits: readonly Edit[], context: EditContext): CompiledEdits {
  const steps = new Map<number, CompiledStep[]>();
  const probes: Probe[] = [];
  const gates = edits.map((edit, index) => {
    const point = residualPoint(edit.hook, context.nLayers, `edit ${edit.id}: hook`);
    checkSchedule(edit);
    const list = steps.get(point) ?? [];
    steps.set(point, list);
    if ("direction" in edit) list.push(vectorStep(edit, index, context));
    else if (edit.method === "reconstruct") groupOf(list, context.sae(edit.sae)).addReconstruct(index);
    else groupOf(list, context.sae(edit.sae)).add(featureStep(edit, index, context.sae(edit.sae)));
    return compileGate(edit, index, point, context, probes);
  });
  const points = new Set([...steps.keys(), ...probes.map(({ point }) => point)]);
  return { edits, steps, points: [...points].sort((a, b) => a - b), gates, probes };
}

/** The group that an edit by this SAE joins: the one before it in the list, or a new one. */
function groupOf(list: CompiledStep[], sae: SaeRuntime): FeatureGroup {
  const last = list.at(-1);
  if (last?.kind === "features" && last.sae === sae) return last;
  const group = new FeatureGroup(sae);
  list.push(group);
  return group;
}

function checkSchedule(edit: Edit): void {
  const { schedule } = edit;
  if (schedule === undefined) return;
  if (schedule.length === 0 || !schedule.every(Number.isFinite)) throw fault(edit, "schedule", "a schedule holds finite factors", schedule.length === 0 ? "none" : "one that is not finite", "at least one, all finite");
  if (edit.method === "projection_cap" || edit.method === "swap" || edit.method === "ablate" || edit.method === "reconstruct" || edit.method === "feature_clamp") {
    throw fault(edit, "schedule", `${edit.method} has no strength to move`, `${schedule.length} factors`, "none");
  }
}

function featureStep(edit: FeatureEdit, index: number, sae: SaeRuntime): FeatureStep {
  sae.decoderRow(edit.feature, `edit ${edit.id}: feature`);
  if (edit.method === "feature_clamp") {
    refuse(edit, "strength", edit.strength);
    checkBounds(edit, edit.min, edit.max);
  } else {
    const s = strength(edit, edit.strength);
    if (edit.method === "feature_set" && s < 0 && edit.allowNegative !== true) throw fault(edit, "strength", "an activation is not negative unless allowNegative is set", s, "at least 0");
    refuse(edit, "min", edit.min);
    refuse(edit, "max", edit.max);
  }
  return { index, edit, feature: edit.feature, formula: activationFormula(edit), keepErrorTerm: edit.keepErrorTerm ?? true };
}

function vectorStep(edit: VectorEdit, index: number, context: EditContext): VectorStep {
  const v = direction(edit, "direction", edit.direction, context);
  checkFields(edit);
  if (edit.method !== "add") return { kind: "vector", index, formula: vectorFormula(edit, v, context), addition: undefined };
  const added = addition(edit, v);
  return { kind: "vector", index, formula: (added.byNorm ? addFraction : add)(added.vector, added.strength), addition: added };
}

function addition(edit: VectorEdit, v: Float32Array): Addition {
  const byNorm = edit.unit === "resid_norm_fraction";
  const vector = byNorm || edit.normalize === true ? unit(v) : v;
  return { vector, length: length(vector), strength: strength(edit, edit.strength), byNorm };
}

/** Refuses what the edit's method does not read. */
function checkFields(edit: VectorEdit): void {
  if (edit.method !== "add" && edit.unit !== undefined && edit.unit !== "raw") throw fault(edit, "unit", `${edit.method} takes raw strengths only`, edit.unit, "raw");
  if (edit.method !== "add" && edit.method !== "norm_scaled_add") refuse(edit, "normalize", edit.normalize);
  if (edit.method !== "norm_scaled_add") refuse(edit, "maxFraction", edit.maxFraction);
  if (edit.method !== "swap") refuse(edit, "swapTarget", edit.swapTarget);
  if (edit.method !== "projection_cap") {
    refuse(edit, "min", edit.min);
    refuse(edit, "max", edit.max);
  }
}

/** The formula of an edit that does more than add. */
function vectorFormula(edit: VectorEdit, v: Float32Array, context: EditContext): RowFormula {
  switch (edit.method) {
    case "norm_scaled_add": {
      const maxFraction = edit.maxFraction ?? 1;
      if (!(maxFraction > 0)) throw fault(edit, "maxFraction", "the longest step must be above 0", maxFraction, "above 0");
      return normScaledAdd(edit.normalize === true ? unit(v) : v, strength(edit, edit.strength), maxFraction);
    }
    case "orthogonal":
      return orthogonal(unit(v), strength(edit, edit.strength));
    case "replace":
      return replace(v, edit.strength === undefined ? 1 : strength(edit, edit.strength));
    case "projection_cap":
      refuse(edit, "strength", edit.strength);
      checkBounds(edit, edit.min, edit.max);
      return projectionCap(unit(v), edit.min ?? -Infinity, edit.max ?? Infinity);
    case "ablate":
      refuse(edit, "strength", edit.strength);
      return orthogonal(unit(v), 0);
    default:
      refuse(edit, "strength", edit.strength);
      if (edit.swapTarget === undefined) throw fault(edit, "swapTarget", "swap needs a second direction", "nothing", "a direction");
      return swap(unit(v), unit(direction(edit, "swapTarget", edit.swapTarget, context)));
  }
}

function direction(edit: VectorEdit, field: string, given: Direction, context: EditContext): Float32Array {
  const v = given instanceof Float32Array ? given : context.sae(given.sae).decoderRow(given.feature, `edit ${edit.id}: ${field}.feature`);
  if (v.length !== context.dModel) throw fault(edit, field, "the direction has another width than the residual", v.length, context.dModel);
  const size = length(v);
  if (!Number.isFinite(size) || (size === 0 && edit.method !== "replace")) throw fault(edit, field, "the direction has no usable length", size === 0 ? "length 0" : "a value that is not finite", "a finite vector that is not 0");
  return v;
}

function strength(edit: Edit, s: number | undefined): number {
  if (s === undefined || !Number.isFinite(s)) throw fault(edit, "strength", `${edit.method} needs a strength`, s ?? "nothing", "a finite number");
  return s;
}

function refuse(edit: Edit, field: string, value: unknown): void {
  if (value !== undefined) throw fault(edit, field, `${edit.method} has no ${field}`, typeof value === "object" ? "a value" : value, "nothing");
}

function checkBounds(edit: Edit, min: number | undefined, max: number | undefined): void {
  if ((min === undefined && max === undefined) || Number.isNaN(min) || Number.isNaN(max) || (min ?? -Infinity) > (max ?? Infinity)) {
    throw fault(edit, "min, max", `${edit.method} needs a bound, and min at most max`, `min ${min ?? "open"}, max ${max ?? "open"}`, "at least one bound");
  }
}

import { create } from "@bufbuild/protobuf";
import {
  type Intervention,
  InterventionSchema,
  PositionSelectorSchema,
  PositionSetSchema,
  ScheduleSchema,
  StrengthUnit,
} from "@mistral-sae/contracts/mistral_sae/common/v1/intervention";
import type { Edit, GeneratedRule } from "@mistral-sae/model";
import { invalidArgument } from "@mistral-sae/rpc";
import type { Prompt } from "../wire/prompt.ts";
import { settleConflicts } from "./conflicts.ts";
import { requireFactor } from "./effect.ts";
import { maySelect, place } from "./positions.ts";
import type { ResolvedIntervention } from "./resolve.ts";
import { scheduleFactors } from "./schedule.ts";

/** An intervention placed in one prompt: the edit, and what the engine has to prove. */
export interface PlacedIntervention {
  readonly source: ResolvedIntervention;
  readonly edit: Edit;
  /** Prompt rows that are selected: edited, unless a condition holds the edit off. */
  readonly promptRows: number;
  /** Which generated tokens are, likewise. */
  readonly rule: GeneratedRule;
  /** Whether neither prompt nor generation has a row for it. */
  readonly selectsNothing: boolean;
}

/** Where interventions go. */
export interface PlaceOptions {
  /** Ids that skip_special_tokens leaves alone. */
  readonly specialIds: readonly number[];
  /** Tokens to generate at most; 0 where nothing is generated. */
  readonly maxTokens: number;
}

/** Places interventions in a prompt. @throws INVALID_ARGUMENT naming the field. */
export function placeInterventions(interventions: readonly ResolvedIntervention[], prompt: Prompt, options: PlaceOptions): PlacedIntervention[] {
  const placements = settleConflicts(
    interventions,
    interventions.map(({ field, source }) => place(`${field}.positions`, source.positions, prompt, options.specialIds)),
  );
  return interventions.map((intervention, i) => {
    const { prompt: mask, generated } = placements[i] as (typeof placements)[number];
    const moves = intervention.method.optional.includes("schedule");
    const factors = moves ? scheduleFactors(`${intervention.field}.schedule`, intervention.source.schedule, options.maxTokens) : undefined;
    let promptRows = 0;
    for (const selected of mask) promptRows += selected;
    const selectsGenerated = maySelect(generated, options.maxTokens);
    if (factors !== undefined && (promptRows > 0 || selectsGenerated)) requireFactor(intervention, factors, promptRows > 0, selectsGenerated);
    if (options.maxTokens === 0) refuseAborts(intervention);
    return {
      source: intervention,
      promptRows,
      rule: generated,
      selectsNothing: promptRows === 0 && !selectsGenerated,
      edit: intervention.edit({
        id: intervention.id,
        hook: intervention.hookName,
        prompt: mask,
        generated,
        ...(factors === undefined ? {} : { schedule: factors }),
        ...(intervention.conditions.length === 0 ? {} : { conditions: intervention.conditions }),
      }),
    };
  });
}

function refuseAborts({ field, conditions }: ResolvedIntervention): void {
  const abort = conditions.findIndex(({ action }) => action === "abort");
  if (abort < 0) return;
  throw invalidArgument(`${field}.conditions[${abort}].action`, "got ABORT, wanted APPLY: nothing is generated here that could be ended", "STEERING_FIELD_NOT_APPLICABLE");
}

/**
 * Every intervention must have a row to edit in at least one prompt.
 *
 * @param placed one list a prompt.
 * @throws INVALID_ARGUMENT SELECTOR_EMPTY.
 */
export function requireRows(placed: readonly (readonly PlacedIntervention[])[]): void {
  for (const [i, first] of (placed[0] ?? []).entries()) {
    if (!placed.every((list) => list[i]?.selectsNothing === true)) continue;
    throw invalidArgument(
      `${first.source.field}.positions`,
      "selects no position of the prompt and none that is generated and read again; special tokens are skipped unless skip_special_tokens is false",
      "SELECTOR_EMPTY",
    );
  }
}

/** The intervention with every default filled in, as GenerateStarted reports it. */
export function withDefaults({ id, source, method, hookName, conflict }: ResolvedIntervention): Intervention {
  const has = (option: (typeof method.optional)[number]) => method.required.includes(option) || method.optional.includes(option);
  const { target } = source;
  return create(InterventionSchema, {
    ...source,
    id,
    target: target.case === "direction" ? { case: "direction", value: { ...target.value, hookName } } : target,
    unit: source.unit === StrengthUnit.UNSPECIFIED ? StrengthUnit.RAW : source.unit,
    positions:
      source.positions === undefined
        ? create(PositionSelectorSchema, {
            include: create(PositionSetSchema, { promptAll: true, generationAll: true }),
            skipSpecialTokens: true,
          })
        : create(PositionSelectorSchema, {
            ...source.positions,
            include: source.positions.include ?? create(PositionSetSchema, { promptAll: true, generationAll: true }),
            skipSpecialTokens: source.positions.skipSpecialTokens ?? true,
          }),
    conflict,
    ...(has("strength") ? { strength: source.strength ?? 1 } : {}),
    ...(has("normalize") ? { normalize: source.normalize ?? false } : {}),
    ...(has("maxFraction") ? { maxFraction: source.maxFraction ?? 1 } : {}),
    ...(has("keepErrorTerm") ? { keepErrorTerm: source.keepErrorTerm ?? true } : {}),
    ...(has("schedule") ? { schedule: source.schedule ?? create(ScheduleSchema, { schedule: { case: "constant", value: 1 } }) } : {}),
  });
}

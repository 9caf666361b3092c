import { Comparison, type Condition, ConditionAction } from "@mistral-sae/contracts/mistral_sae/common/v1/intervention";
import { contradiction, type EditCondition } from "@mistral-sae/model";
import { failedPrecondition, invalidArgument } from "@mistral-sae/rpc";
import { featureOf, type ResolveContext } from "./context.ts";
import { readableHook, siteIndex } from "./hooks.ts";

const COMPARISONS: ReadonlyMap<Comparison, EditCondition["comparison"]> = new Map([
  [Comparison.GREATER, "greater"],
  [Comparison.GREATER_EQUAL, "greater_equal"],
  [Comparison.LESS, "less"],
  [Comparison.LESS_EQUAL, "less_equal"],
]);

const SIGNS: Readonly<Record<EditCondition["comparison"], string>> = { greater: ">", greater_equal: ">=", less: "<", less_equal: "<=" };

/**
 * The conditions of an intervention at `hookName`.
 *
 * @throws INVALID_ARGUMENT, CONDITION_TOO_LATE, CONDITION_NEVER_HOLDS among them; FAILED_PRECONDITION HOOK_NOT_READABLE.
 */
export function readConditions(field: string, conditions: readonly Condition[], hookName: string, context: ResolveContext): EditCondition[] {
  const read = conditions.map((condition, i) => readCondition(`${field}[${i}]`, condition, hookName, context));
  const clash = contradiction(read);
  if (clash !== undefined) {
    const [first, second] = clash;
    const { comparison, threshold } = read[second] as EditCondition;
    const never = first === second ? "an activation is 0 or more" : `${field}[${first}] on the same feature rules it out`;
    throw invalidArgument(`${field}[${second}]`, `got ${SIGNS[comparison]} ${threshold}, wanted a condition that can hold: ${never}`, "CONDITION_NEVER_HOLDS");
  }
  return read;
}

function readCondition(field: string, condition: Condition, hookName: string, context: ResolveContext): EditCondition {
  const { threshold } = condition;
  if (condition.feature === undefined) throw invalidArgument(`${field}.feature`, "is not set, wanted the feature to watch");
  const { sae, feature } = featureOf(`${field}.feature`, condition.feature, context);
  const comparison = COMPARISONS.get(condition.comparison);
  if (comparison === undefined) throw invalidArgument(`${field}.comparison`, `got ${condition.comparison}, wanted GREATER, GREATER_EQUAL, LESS or LESS_EQUAL`);
  if (!Number.isFinite(threshold)) throw invalidArgument(`${field}.threshold`, `got ${threshold}, wanted a finite number`, "VALUE_NOT_FINITE");
  const action = readAction(field, condition.action);
  const hook = readableHook(`${field}.feature.sae`, sae.hookName, context.info).hookName;
  const [seen, edited] = [siteIndex(hook), siteIndex(hookName)];
  if (seen === undefined || edited === undefined) {
    throw failedPrecondition("HOOK_NOT_READABLE", `${field}.feature.sae: conditions watch the residual stream, and this SAE reads ${hook}`, { hook_name: hook });
  }
  if (action === "apply" && seen > edited) {
    throw invalidArgument(`${field}.feature.sae`, `got an SAE at ${hook}, wanted one at or before ${hookName}: the edit is made before the feature is known`, "CONDITION_TOO_LATE");
  }
  return { sae: sae.engineName, hook, feature, comparison, threshold, lookback: Math.max(1, condition.lookback), action };
}

function readAction(field: string, action: ConditionAction): "apply" | "abort" {
  if (action === ConditionAction.APPLY || action === ConditionAction.UNSPECIFIED) return "apply";
  if (action === ConditionAction.ABORT) return "abort";
  throw invalidArgument(`${field}.action`, `got ${String(action)}, wanted APPLY or ABORT`);
}

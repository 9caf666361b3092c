import type { Intervention } from "@mistral-sae/contracts/mistral_sae/common/v1/intervention";
import { invalidArgument } from "@mistral-sae/rpc";
import { depthOf } from "./hooks.ts";
import type { Method } from "./methods.ts";
import type { ResolvedIntervention } from "./resolve.ts";

/** The strength at which a method leaves every row as it is; undefined where there is none. */
export function neutralStrength({ method }: Method): number | undefined {
  if (method === "add" || method === "norm_scaled_add" || method === "feature_add") return 0;
  if (method === "orthogonal" || method === "feature_scale") return 1;
  return undefined;
}

/** Strength and bounds must be able to change a row. @throws INVALID_ARGUMENT STEERING_NO_EFFECT. */
export function requireEffect(field: string, { strength, min, max }: Intervention, method: Method): void {
  const neutral = neutralStrength(method);
  if (strength !== undefined && strength === neutral) {
    throw noEffect(`${field}.strength`, `got ${strength}, at which ${method.label} changes nothing, wanted another; for a baseline leave the intervention out`);
  }
  if (method.method === "feature_clamp" && max === undefined && min !== undefined && min <= 0) {
    throw noEffect(`${field}.min`, `got ${min} without max, wanted more than 0: an activation is 0 or more`);
  }
}

/** A schedule must not hold the neutral value wherever the intervention may edit. @throws INVALID_ARGUMENT STEERING_NO_EFFECT. */
export function requireFactor({ field, method }: ResolvedIntervention, factors: Float32Array, selectsPrompt: boolean, selectsGenerated: boolean): void {
  if (neutralStrength(method) === undefined) return;
  if ((selectsPrompt && factors[0] !== 0) || (selectsGenerated && factors.some((factor) => factor !== 0))) return;
  throw noEffect(`${field}.schedule`, `got the factor 0 at every position that is selected, at which ${method.label} changes nothing, wanted another`);
}

/** An edit must lie before something that is read. @throws INVALID_ARGUMENT STEERING_NO_EFFECT. */
export function requireReached(interventions: readonly ResolvedIntervention[], hookNames: readonly string[]): void {
  const deepest = Math.max(...hookNames.map(depthOf));
  for (const { field, hookName } of interventions) {
    if (depthOf(hookName) <= deepest) continue;
    throw noEffect(field, `edits ${hookName}, which lies behind every hook asked for (${hookNames.join(", ")}), wanted a hook before one of them`);
  }
}

function noEffect(field: string, message: string): Error {
  return invalidArgument(field, message, "STEERING_NO_EFFECT");
}

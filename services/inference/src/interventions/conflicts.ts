import { ConflictPolicy } from "@mistral-sae/contracts/mistral_sae/common/v1/intervention";
import { type GeneratedRule, type GeneratedSet, neverTogether, selectionsMeet } from "@mistral-sae/model";
import { invalidArgument } from "@mistral-sae/rpc";
import type { Placement } from "./positions.ts";
import type { ResolvedIntervention } from "./resolve.ts";

/**
 * Settles interventions that edit one feature or direction at the same positions, by the policy of the later one:
 * ERROR refuses, SEQUENTIAL lets both act in list order, FIRST takes the shared positions from the later one.
 * Two FEATURE_SET of one feature never go together. Conditions that contradict each other keep two apart as well.
 *
 * @param placements one an intervention, in list order.
 * @returns the placements, those of FIRST reduced.
 * @throws INVALID_ARGUMENT CONFLICTING_INTERVENTIONS naming both.
 */
export function settleConflicts(interventions: readonly ResolvedIntervention[], placements: readonly Placement[]): Placement[] {
  const settled = [...placements];
  for (const [j, later] of interventions.entries()) {
    for (let i = 0; i < j; i++) {
      const earlier = interventions[i] as ResolvedIntervention;
      const shared = later.touches.find((key) => earlier.touches.includes(key));
      if (shared === undefined) continue;
      const [a, b] = [settled[i] as Placement, settled[j] as Placement];
      if (!selectionsMeet(a, b) || neverTogether(earlier.conditions, later.conditions)) continue;
      const bothSet = earlier.method.method === "feature_set" && later.method.method === "feature_set";
      if (later.conflict === ConflictPolicy.FIRST) {
        settled[j] = without(later, b, a);
      } else if (later.conflict === ConflictPolicy.ERROR || bothSet) {
        throw conflicting(later, earlier, bothSet);
      }
    }
  }
  return settled;
}

/** `placement` less what `taken` selects. */
function without(later: ResolvedIntervention, placement: Placement, taken: Placement): Placement {
  return {
    prompt: placement.prompt.map((selected, i) => (taken.prompt[i] === 1 ? 0 : selected)),
    generated: { ...placement.generated, exclude: excluding(later, placement.generated, taken.generated) },
  };
}

/**
 * (I2 \ E2) \ (I1 \ E1) is I2 \ (E2 ∪ I1) as long as E1 lies in E2; a rule that leaves out other tokens than the
 * first one cannot be said as one set.
 */
function excluding(later: ResolvedIntervention, rule: GeneratedRule, taken: GeneratedRule): GeneratedSet {
  const own = rule.exclude ?? {};
  const theirs = taken.exclude ?? {};
  const inOwn =
    own.all === true ||
    (theirs.all !== true && theirs.window === undefined && (theirs.tokenIds ?? []).every((id) => own.tokenIds?.includes(id)));
  const include = taken.include ?? { all: true };
  if (!inOwn || (own.window !== undefined && include.window !== undefined)) {
    throw invalidArgument(
      `${later.field}.conflict`,
      "FIRST wants the same excludes, special tokens included, as the intervention it gives way to",
      "CONFLICTING_INTERVENTIONS",
    );
  }
  const window = own.window ?? include.window;
  return {
    ...(own.all === true || include.all === true ? { all: true } : {}),
    ...(window === undefined ? {} : { window }),
    tokenIds: [...(own.tokenIds ?? []), ...(include.tokenIds ?? [])],
  };
}

function conflicting(later: ResolvedIntervention, earlier: ResolvedIntervention, bothSet: boolean): Error {
  const advice = bothSet
    ? "two FEATURE_SET of one feature cannot both hold; drop one, or give them other positions or conditions that never hold together"
    : "give them other positions, or a conflict of SEQUENTIAL or FIRST";
  return invalidArgument(
    later.field,
    `${JSON.stringify(later.id)} and ${JSON.stringify(earlier.id)} edit the same thing at ${later.hookName} at the same positions; ${advice}`,
    "CONFLICTING_INTERVENTIONS",
    { first: earlier.id, second: later.id },
  );
}

import type { FeatureEdit } from "./edit.ts";

/** a' from a; `factor` is the schedule's g(t). */
export type ActivationFormula = (activation: number, factor: number) => number;

/** The formula of a feature edit whose strength and bounds have been checked. */
export function activationFormula(edit: FeatureEdit): ActivationFormula {
  const s = edit.strength ?? 0;
  const least = edit.min ?? -Infinity;
  const most = edit.max ?? Infinity;
  switch (edit.method) {
    case "feature_set":
      return (_, factor) => s * factor;
    case "feature_add":
      return edit.allowNegative === true ? (a, factor) => a + s * factor : (a, factor) => Math.max(0, a + s * factor);
    case "feature_scale":
      return (a, factor) => (1 + (s - 1) * factor) * a;
    default:
      return (a) => Math.min(Math.max(a, least), most);
  }
}

/** Whether a' − a depends on a, which is 0 or more: what is only added does not, where the floor is out of reach. */
export function readsActivation(edit: FeatureEdit, factor: number): boolean {
  return edit.method !== "feature_add" || !(edit.allowNegative === true || (edit.strength ?? 0) * factor >= 0);
}

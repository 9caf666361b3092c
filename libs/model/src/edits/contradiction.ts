import type { EditCondition } from "./edit.ts";

/**
 * Two conditions of one list that no activation meets together, as it is 0 or more: their indices, the same twice for
 * a condition that none meets alone. Only conditions on the same tokens of the same feature are compared.
 */
export function contradiction(conditions: readonly EditCondition[]): readonly [number, number] | undefined {
  for (const [j, b] of conditions.entries()) {
    if (isEmpty([b])) return [j, j];
    for (const [i, a] of conditions.slice(0, j).entries()) {
      if (sameReading(a, b) && sameAction(a, b) && isEmpty([a, b])) return [i, j];
    }
  }
  return undefined;
}

/** Whether two edits never apply to the same row, because their conditions contradict each other. */
export function neverTogether(a: readonly EditCondition[] = [], b: readonly EditCondition[] = []): boolean {
  return a.some((x) => b.some((y) => gates(x) && gates(y) && sameReading(x, y) && isEmpty([x, y])));
}

function gates({ action }: EditCondition): boolean {
  return action !== "abort";
}

function sameAction(a: EditCondition, b: EditCondition): boolean {
  return gates(a) === gates(b);
}

function sameReading(a: EditCondition, b: EditCondition): boolean {
  return a.sae === b.sae && a.hook === b.hook && a.feature === b.feature && (a.lookback ?? 1) === (b.lookback ?? 1);
}

function isEmpty(conditions: readonly EditCondition[]): boolean {
  let [least, most] = [0, Infinity];
  let [aboveLeast, belowMost] = [false, false];
  for (const { comparison, threshold } of conditions) {
    const strict = comparison === "greater" || comparison === "less";
    if (comparison === "greater" || comparison === "greater_equal") {
      if (threshold > least || (threshold === least && strict)) [least, aboveLeast] = [threshold, strict];
    } else if (threshold < most || (threshold === most && strict)) [most, belowMost] = [threshold, strict];
  }
  return least > most || (least === most && (aboveLeast || belowMost));
}

import { neverTogether } from "./contradiction.ts";
import type { Edit } from "./edit.ts";
import { fault } from "./fault.ts";
import { selectionsMeet } from "./rules.ts";

/**
 * The checks that can only be made against a sequence: prompt masks cover its tokens, and no feature is set twice in a
 * row. Throws InputError.
 */
export function checkSequence(edits: readonly Edit[], nTokens: number): void {
  for (const [i, edit] of edits.entries()) {
    if (edit.prompt !== undefined && edit.prompt.length !== nTokens) throw fault(edit, "prompt", "the mask does not cover the tokens", `${edit.prompt.length} bytes`, `${nTokens} bytes`);
    if (edit.method !== "feature_set") continue;
    for (const earlier of edits.slice(0, i)) {
      if (earlier.method !== "feature_set" || earlier.sae !== edit.sae || earlier.feature !== edit.feature || earlier.hook !== edit.hook) continue;
      if (!selectionsMeet(earlier, edit) || neverTogether(earlier.conditions, edit.conditions)) continue;
      throw fault(edit, "feature", `edit ${earlier.id} sets this feature too, at rows that both select`, edit.feature, "rows of its own, or conditions that never hold together");
    }
  }
}

import type { Edit } from "./edit.ts";
import { fault } from "./fault.ts";

/** The check that can only be made against a sequence: prompt masks cover its tokens. Throws InputError. */
export function checkMasks(edits: readonly Edit[], nTokens: number): void {
  for (const edit of edits) {
    if (edit.prompt !== undefined && edit.prompt.length !== nTokens) throw fault(edit, "prompt", "the mask does not cover the tokens", `${edit.prompt.length} bytes`, `${nTokens} bytes`);
  }
}

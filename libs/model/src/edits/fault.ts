import { InputError } from "@mistral-sae/tensor";
import type { Edit } from "./edit.ts";

/** The error for a field of an edit. */
export function fault(edit: Edit, field: string, message: string, got: unknown, wanted: unknown): InputError {
  return new InputError(message, { field: `edit ${edit.id}: ${field}`, got, wanted });
}

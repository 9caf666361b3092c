import { InputError } from "@mistral-sae/tensor";
import type { SequenceEdits } from "../edits/compiled.ts";
import type { ModelRuntime } from "../runtime/model-runtime.ts";
import type { SamplingParams } from "../sampling/params.ts";
import { checkSampling } from "../sampling/sampler.ts";
import type { PrefillInput } from "../worker/protocol.ts";
import type { Slot } from "./slot.ts";
import type { Slots } from "./slots.ts";

/** A row of prefill, checked. */
export interface RowPlan {
  readonly tokens: Uint32Array;
  readonly promptLength: number;
  readonly edits: SequenceEdits | undefined;
  readonly sampling: SamplingParams | undefined;
  readonly endIds: readonly number[] | undefined;
  readonly klFromRow: number | undefined;
  /** Where the first `shared` positions come from, when any do: a slot, or an earlier row of the call. */
  readonly reuse: { readonly slot: Slot; readonly row?: undefined } | { readonly row: number } | undefined;
  readonly shared: number;
}

/** Checks the rows of a call and finds what each can share. */
export function planRows(runtime: ModelRuntime, slots: Slots, inputs: readonly PrefillInput[]): RowPlan[] {
  const compile = runtime.editCompiler();
  const plans: RowPlan[] = [];
  for (const [i, input] of inputs.entries()) {
    if (input.sampling !== undefined) checkSampling(input.sampling);
    if (input.klFromRow !== undefined && inputs[input.klFromRow] === undefined) throw new InputError("there is no such row in the call", { field: `rows[${i}].klFromRow`, got: input.klFromRow, wanted: `0 to ${inputs.length - 1}` });
    const promptLength = promptLengthOf(input, i);
    const edits = compile(input.edits, promptLength);
    const { reuse, shared } = share(input, edits, i, plans, slots);
    plans.push({ tokens: input.tokens, promptLength, edits, sampling: input.sampling, endIds: input.endIds, klFromRow: input.klFromRow, reuse: shared > 0 ? reuse : undefined, shared });
  }
  return plans;
}

function promptLengthOf({ tokens, promptLength }: PrefillInput, row: number): number {
  if (promptLength === undefined) return tokens.length;
  if (Number.isSafeInteger(promptLength) && promptLength >= 1 && promptLength <= tokens.length) return promptLength;
  throw new InputError("a row's prompt is no part of its tokens", { field: `rows[${row}].promptLength`, got: promptLength, wanted: `1 to ${tokens.length}` });
}

function share(input: PrefillInput, edits: SequenceEdits | undefined, index: number, plans: readonly RowPlan[], slots: Slots): Pick<RowPlan, "reuse" | "shared"> {
  if (input.reuse === undefined) return { reuse: undefined, shared: 0 };
  let tokens: Uint32Array;
  let theirs: SequenceEdits | undefined;
  let reuse: RowPlan["reuse"];
  if (typeof input.reuse === "number") {
    const slot = slots.get(input.reuse, `rows[${index}].reuse`);
    ({ tokens, edits: theirs } = slot);
    reuse = { slot };
  } else {
    const { row } = input.reuse;
    const plan = plans[row];
    if (plan === undefined) throw new InputError("a row can share with earlier rows only", { field: `rows[${index}].reuse.row`, got: row, wanted: index === 0 ? "nothing: this is the first row" : `0 to ${index - 1}` });
    ({ tokens, edits: theirs } = plan);
    reuse = { row };
  }
  let shared = 0;
  const most = Math.min(tokens.length, input.tokens.length);
  const touched = (at: number, token: number): boolean => theirs?.touches(at, token) === true || edits?.needs(at, token) === true;
  while (shared < most && tokens[shared] === input.tokens[shared] && !touched(shared, input.tokens[shared]!)) shared++;
  // The row that predicts must run again unless the source ends at the same token and its residual is at hand.
  if (shared === input.tokens.length && tokens.length > shared) shared--;
  return { reuse, shared };
}

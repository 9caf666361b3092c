import { create } from "@bufbuild/protobuf";
import { PromptInputSchema } from "@mistral-sae/contracts/mistral_sae/common/v1/tokens";
import { invalidArgument } from "@mistral-sae/rpc";
import type { LoadedModel } from "../models/loaded-model.ts";
import { type Prompt, readPrompts } from "../wire/prompt.ts";
import { type InputTensor, integersOf, requireKind } from "./tensors.ts";

/** The prompts of a request and how they lie in its tensors: prompt b fills columns [starts[b], starts[b] + length). */
export interface PromptBatch {
  readonly prompts: readonly Prompt[];
  readonly starts: readonly number[];
  /** Columns. */
  readonly width: number;
}

export interface PromptOptions {
  readonly maxPrompts: number;
  readonly prependBos: boolean | undefined;
  readonly signal: AbortSignal;
}

/**
 * Prompts from `input_ids` [B, S], with `attention_mask` [B, S] or `lengths` [B] where rows are padded, or from `text`
 * [B, 1], which is tokenised here.
 *
 * @throws INVALID_ARGUMENT naming the input.
 */
export async function readPromptBatch(inputs: ReadonlyMap<string, InputTensor>, model: LoadedModel, options: PromptOptions): Promise<PromptBatch> {
  const ids = inputs.get("input_ids");
  const text = inputs.get("text");
  if (ids === undefined && text === undefined) throw invalidArgument("inputs", "has no prompt, wanted input_ids or text");
  if (ids !== undefined && text !== undefined) throw invalidArgument("inputs", "has input_ids and text, wanted one of the two");
  const { rows, width } = ids === undefined ? { rows: textRows(text as InputTensor, options.prependBos), width: undefined } : idRows(ids, inputs);
  if (text !== undefined) for (const name of ["attention_mask", "lengths"]) if (inputs.has(name)) throw invalidArgument(`inputs["${name}"]`, "is given beside text, wanted it beside input_ids only");
  if (ids !== undefined && options.prependBos !== undefined) throw invalidArgument("parameters[prepend_bos]", "is given beside input_ids, wanted it unset: ids are used as they are");
  if (rows.length === 0 || rows.length > options.maxPrompts) throw invalidArgument("inputs", `got ${rows.length} prompts, wanted 1 to ${options.maxPrompts}`);
  const prompts = await readPrompts(
    (i) => `inputs["${ids === undefined ? "text" : "input_ids"}"][${i}]`,
    rows.map(({ input }) => input),
    model.reader,
    options.signal,
  );
  return { prompts, starts: rows.map(({ start }) => start), width: width ?? Math.max(...prompts.map((prompt) => prompt.ids.length)) };
}

type Row = { readonly input: ReturnType<typeof promptInput>; readonly start: number };

function promptInput(prompt: { case: "text"; value: string } | { case: "tokens"; value: { tokenIds: number[] } }, prependBos?: boolean) {
  return create(PromptInputSchema, { prompt, ...(prependBos === undefined ? {} : { prependBos }) });
}

function textRows(text: InputTensor, prependBos: boolean | undefined): Row[] {
  requireKind(text, "strings");
  if (text.shape.length > 2 || (text.shape.length === 2 && text.shape[1] !== 1)) throw invalidArgument('inputs["text"].shape', `got [${text.shape.join(", ")}], wanted [B, 1]`, "TENSOR_SIZE_MISMATCH");
  return Array.from(text.values, (value) => ({ input: promptInput({ case: "text", value: value as string }, prependBos), start: 0 }));
}

function idRows(tensor: InputTensor, inputs: ReadonlyMap<string, InputTensor>): { readonly rows: Row[]; readonly width: number } {
  const [count, width] = tensor.shape;
  if (count === undefined || width === undefined || tensor.shape.length !== 2) throw invalidArgument('inputs["input_ids"].shape', `got [${tensor.shape.join(", ")}], wanted [B, S]`, "TENSOR_SIZE_MISMATCH");
  const ids = integersOf(tensor);
  const range = rangesOf(inputs, count, width);
  const rows = Array.from({ length: count }, (_, b) => {
    const [start, end] = range(b);
    const tokenIds = Array.from(ids.subarray(b * width + start, b * width + end));
    const bad = tokenIds.findIndex((id) => id < 0 || id >= 2 ** 32);
    if (bad >= 0) throw invalidArgument(`inputs["input_ids"][${b}][${start + bad}]`, `got ${tokenIds[bad]}, wanted a token id`, "TOKEN_OUT_OF_VOCAB");
    return { input: promptInput({ case: "tokens", value: { tokenIds } }), start };
  });
  return { rows, width };
}

/** Which columns [start, end) of each row hold its tokens. */
function rangesOf(inputs: ReadonlyMap<string, InputTensor>, count: number, width: number): (row: number) => readonly [number, number] {
  const mask = inputs.get("attention_mask");
  const lengths = inputs.get("lengths");
  if (mask !== undefined && lengths !== undefined) throw invalidArgument("inputs", "has attention_mask and lengths, wanted one of the two");
  if (lengths !== undefined) {
    const values = integersOf(lengths);
    if (values.length !== count) throw invalidArgument('inputs["lengths"]', `got ${values.length} elements, wanted ${count}, one a row`, "TENSOR_SIZE_MISMATCH");
    return (row) => {
      const length = values[row] ?? 0;
      if (length < 1 || length > width) throw invalidArgument(`inputs["lengths"][${row}]`, `got ${length}, wanted 1 to ${width}`);
      return [0, length];
    };
  }
  if (mask === undefined) return () => [0, width];
  if (mask.shape.length !== 2 || mask.shape[0] !== count || mask.shape[1] !== width) {
    throw invalidArgument('inputs["attention_mask"].shape', `got [${mask.shape.join(", ")}], wanted [${count}, ${width}] as input_ids`, "TENSOR_SIZE_MISMATCH");
  }
  const bits = integersOf(mask);
  return (row) => {
    const part = bits.subarray(row * width, (row + 1) * width);
    const start = part.indexOf(1);
    const end = part.lastIndexOf(1) + 1;
    if (part.some((bit, at) => bit !== (at >= start && at < end ? 1 : 0))) {
      throw invalidArgument(`inputs["attention_mask"][${row}]`, "has a gap or a value other than 0 and 1, wanted one run of ones with padding before or after it");
    }
    if (start < 0) throw invalidArgument(`inputs["attention_mask"][${row}]`, "selects no token, wanted at least 1");
    return [start, end];
  };
}

import type { EngineInfo } from "@mistral-sae/model";
import type { ParameterSpec } from "./parameters.ts";

/** A tensor as ModelMetadata tells it. */
export interface TensorSpec {
  readonly name: string;
  readonly datatype: string;
  readonly shape: readonly number[];
}

/** Inputs of a language model: ids or text, one of the two. */
export const PROMPT_INPUTS: readonly TensorSpec[] = [
  { name: "input_ids", datatype: "INT64", shape: [-1, -1] },
  { name: "attention_mask", datatype: "INT64", shape: [-1, -1] },
  { name: "lengths", datatype: "INT64", shape: [-1] },
  { name: "text", datatype: "BYTES", shape: [-1, 1] },
];

const sampling: readonly ParameterSpec[] = [
  { name: "max_tokens", datatype: "INT32", shape: [1] },
  { name: "temperature", datatype: "FP32", shape: [1] },
  { name: "top_p", datatype: "FP32", shape: [1] },
  { name: "top_k", datatype: "INT32", shape: [1] },
  { name: "min_p", datatype: "FP32", shape: [1] },
  { name: "repetition_penalty", datatype: "FP32", shape: [1] },
  { name: "presence_penalty", datatype: "FP32", shape: [1] },
  { name: "frequency_penalty", datatype: "FP32", shape: [1] },
  { name: "seed", datatype: "UINT64", shape: [1] },
  { name: "stop", datatype: "BYTES", shape: [-1] },
  { name: "ignore_eos", datatype: "BOOL", shape: [1] },
];

/** Parameters that only generating reads. */
export const SAMPLING: readonly string[] = sampling.map(({ name }) => name);

/** Parameters of a language model. `interventions` is a JSON list of Intervention messages. */
export const LANGUAGE_PARAMETERS: readonly ParameterSpec[] = [
  { name: "hook_name", datatype: "BYTES", shape: [1], ofOutput: true },
  { name: "positions", datatype: "BYTES", shape: [1], ofOutput: true },
  { name: "sae", datatype: "BYTES", shape: [1], ofOutput: true },
  { name: "top_features", datatype: "INT32", shape: [1], ofOutput: true },
  { name: "interventions", datatype: "BYTES", shape: [1] },
  { name: "prepend_bos", datatype: "BOOL", shape: [1] },
  ...sampling,
];

/** Inputs, with the parameters among them: each may come as a tensor too. */
export function languageInputs(): readonly TensorSpec[] {
  return [...PROMPT_INPUTS, ...LANGUAGE_PARAMETERS.map(({ name, datatype, shape }) => ({ name, datatype, shape }))];
}

/** Outputs: what is computed, what is generated, and every hook that can be read. */
export function languageOutputs(info: EngineInfo): readonly TensorSpec[] {
  return [
    { name: "logits", datatype: "FP32", shape: [-1, -1, info.dVocab] },
    { name: "residual", datatype: "FP32", shape: [-1, -1, -1] },
    { name: "feature_indices", datatype: "UINT32", shape: [-1, -1, -1] },
    { name: "feature_acts", datatype: "FP32", shape: [-1, -1, -1] },
    { name: "output_ids", datatype: "INT64", shape: [-1, -1] },
    { name: "output_lengths", datatype: "INT32", shape: [-1, 1] },
    { name: "generated_text", datatype: "BYTES", shape: [-1, 1] },
    { name: "finish_reason", datatype: "BYTES", shape: [-1, 1] },
    { name: "steering_applied_steps", datatype: "INT32", shape: [-1, 1] },
    ...info.hooks.filter(({ readable }) => readable).map(({ hookName, width }) => ({ name: hookName, datatype: "FP32", shape: [-1, -1, width] })),
  ];
}

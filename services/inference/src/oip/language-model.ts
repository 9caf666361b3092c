import type { ModelInferRequest } from "@mistral-sae/contracts/inference/grpc_predict_v2";
import { type CallContext, invalidArgument } from "@mistral-sae/rpc";
import type { Parts } from "../handlers/parts.ts";
import type { LoadedModel } from "../models/loaded-model.ts";
import { computeOutput, type Run } from "./computed.ts";
import { GENERATED, generateOutputs, isGenerated } from "./generated.ts";
import { readInterventions } from "./interventions.ts";
import { LANGUAGE_PARAMETERS, PROMPT_INPUTS, SAMPLING } from "./language-metadata.ts";
import type { OutputTensor } from "./outputs.ts";
import { Parameters } from "./parameters.ts";
import { readPromptBatch } from "./prompts.ts";
import { readInputs } from "./tensors.ts";

/** Runs a language model: logits, residuals, SAE codes or texts, as `outputs` names them. */
export async function inferLanguageModel(request: ModelInferRequest, model: LoadedModel, parts: Parts, context: CallContext): Promise<OutputTensor[]> {
  const inputs = readInputs(request);
  for (const name of inputs.keys()) {
    const known = [...PROMPT_INPUTS, ...LANGUAGE_PARAMETERS].map((spec) => spec.name);
    if (!known.includes(name)) throw invalidArgument(`inputs[${JSON.stringify(name)}]`, `is not an input of this model, wanted one of ${known.join(", ")}`);
  }
  const parameters = Parameters.read(request, inputs, LANGUAGE_PARAMETERS);
  const wanted = requestedOutputs(request, parameters);
  const options = { maxPrompts: parts.config.maxPrompts, prependBos: parameters.boolean("prepend_bos"), signal: context.signal };
  const batch = await readPromptBatch(inputs, model, options);
  const run: Run = { parts, model, batch, context, interventions: readInterventions(parameters) };

  const results = new Map<string, OutputTensor>();
  const generated = wanted.filter(({ name }) => isGenerated(name));
  if (generated.length > 0) for (const output of await generateOutputs({ ...run, parameters })) results.set(output.name, output);
  for (const { name, parameters: own } of wanted) {
    if (results.has(name)) continue;
    for (const output of await computeOutput(run, name, own)) results.set(output.name, output);
  }
  return wanted.map(({ name }) => results.get(name) as OutputTensor);
}

function requestedOutputs(request: ModelInferRequest, parameters: Parameters): { readonly name: string; readonly parameters: Parameters }[] {
  const sampled = parameters.has(...SAMPLING);
  const byDefault = sampled ? ["output_ids", "generated_text"] : ["logits"];
  const names = request.outputs.length === 0 ? byDefault : request.outputs.map(({ name }) => name);
  const twice = names.find((name, i) => names.indexOf(name) < i);
  if (twice !== undefined) throw invalidArgument(`outputs[${JSON.stringify(twice)}]`, "is asked for twice, wanted each output once");
  if (sampled && !names.some(isGenerated)) throw invalidArgument("outputs", `got ${names.join(", ")} with parameters of generation, wanted one of ${GENERATED.join(", ")} too`);
  for (const [parameter, reads] of Object.entries(READERS)) {
    if (parameters.has(parameter) && !names.some(reads)) throw invalidArgument(`parameters[${parameter}]`, `is read by none of the outputs ${names.join(", ")}`);
  }
  if (request.outputs.length === 0) return names.map((name) => ({ name, parameters }));
  return request.outputs.map(({ name, parameters: own }) => ({ name, parameters: parameters.with(name, own, LANGUAGE_PARAMETERS) }));
}

const ofCodes = (output: string): boolean => output === "feature_indices" || output === "feature_acts";

/** Which outputs read a parameter: one that none reads is refused. */
const READERS: Readonly<Record<string, (output: string) => boolean>> = {
  hook_name: (output) => output === "residual",
  sae: ofCodes,
  top_features: ofCodes,
  positions: (output) => !isGenerated(output),
};

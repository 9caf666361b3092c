import { create } from "@bufbuild/protobuf";
import { DataType } from "@mistral-sae/contracts/mistral_sae/common/v1/tensor";
import { ForwardRequestSchema } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import type { ModelInferRequest } from "@mistral-sae/contracts/inference/grpc_predict_v2";
import type { Intervention } from "@mistral-sae/contracts/mistral_sae/common/v1/intervention";
import { EncodeRequestSchema } from "@mistral-sae/contracts/mistral_sae/sae/v1/sae";
import { type CallContext, invalidArgument } from "@mistral-sae/rpc";
import { f32View } from "@mistral-sae/tensor";
import { forwardHandler } from "../handlers/forward.ts";
import { promptLogits } from "../handlers/logits.ts";
import type { Parts } from "../handlers/parts.ts";
import { readableHook } from "../interventions/hooks.ts";
import type { LoadedModel } from "../models/loaded-model.ts";
import { codeTensors, encodeChunk, type RowPlace } from "./codes.ts";
import { GENERATED, generateOutputs, isGenerated } from "./generated.ts";
import { readInterventions } from "./interventions.ts";
import { LANGUAGE_PARAMETERS, PROMPT_INPUTS, SAMPLING } from "./language-metadata.ts";
import { type OutputTensor, requireFits } from "./outputs.ts";
import { Parameters } from "./parameters.ts";
import { type PromptBatch, readPromptBatch } from "./prompts.ts";
import { readInputs } from "./tensors.ts";

/** A request to a language model, read. */
interface Run {
  readonly parts: Parts;
  readonly model: LoadedModel;
  readonly batch: PromptBatch;
  readonly interventions: readonly Intervention[];
  readonly context: CallContext;
}

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
    if (name === "logits") results.set(name, await logits(run, positionsOf(name, own, "last")));
    else if (name === "feature_indices" || name === "feature_acts") for (const output of await codes(run, name, own)) results.set(output.name, output);
    else results.set(name, await residual(run, name, own));
  }
  return wanted.map(({ name }) => results.get(name) as OutputTensor);
}

function requestedOutputs(request: ModelInferRequest, parameters: Parameters): { readonly name: string; readonly parameters: Parameters }[] {
  const names = request.outputs.map(({ name }) => name);
  const twice = names.find((name, i) => names.indexOf(name) < i);
  if (twice !== undefined) throw invalidArgument(`outputs[${JSON.stringify(twice)}]`, "is asked for twice, wanted each output once");
  const sampled = parameters.has(...SAMPLING);
  if (request.outputs.length === 0) return (sampled ? ["output_ids", "generated_text"] : ["logits"]).map((name) => ({ name, parameters }));
  if (sampled && !names.some(isGenerated)) throw invalidArgument("outputs", `got ${names.join(", ")} with parameters of generation, wanted one of ${GENERATED.join(", ")} too`);
  return request.outputs.map(({ name, parameters: own }) => ({ name, parameters: parameters.with(name, own, LANGUAGE_PARAMETERS) }));
}

type Positions = "last" | "all";

function positionsOf(output: string, parameters: Parameters, byDefault: Positions): Positions {
  const positions = parameters.string("positions") ?? byDefault;
  if (positions === "last" || positions === "all") return positions;
  throw invalidArgument(`outputs[${JSON.stringify(output)}].parameters[positions]`, `got ${JSON.stringify(positions)}, wanted "last" or "all"`);
}

/** [B, P, d_vocab]: P is 1 for the last position, the columns of the input for all; padding is 0. */
async function logits({ parts, model, batch, interventions, context }: Run, positions: Positions): Promise<OutputTensor> {
  const { dVocab } = model.engine.info;
  const columns = positions === "last" ? 1 : batch.width;
  requireFits("logits", batch.prompts.length * columns * dVocab, 'ask for positions "last" or for fewer prompts');
  const values = new Float32Array(batch.prompts.length * columns * dVocab);
  const leave = model.gate.enter();
  try {
    for (const [b, prompt] of batch.prompts.entries()) {
      const asked = positions === "last" ? {} : { positions: "all" as const };
      const result = await promptLogits(parts.saes, model, prompt, interventions, { ...asked, signal: context.signal });
      const start = positions === "last" ? 0 : (batch.starts[b] ?? 0);
      values.set(result.logits, (b * columns + start) * dVocab);
    }
  } catch (error) {
    throw model.explain(error);
  } finally {
    leave();
  }
  return { name: "logits", shape: [batch.prompts.length, columns, dVocab], values };
}

/** [B, P, width] of a hook, named by the output itself or by hook_name; padding is 0. */
async function residual({ parts, model, batch, interventions, context }: Run, name: string, parameters: Parameters): Promise<OutputTensor> {
  const hookName = name === "residual" ? parameters.string("hook_name") : name;
  if (hookName === undefined) throw invalidArgument("parameters[hook_name]", 'is not set, wanted a hook for the output "residual"');
  if (name !== "residual" && !model.engine.info.hooks.some((hook) => hook.hookName === name)) {
    throw invalidArgument(`outputs[${JSON.stringify(name)}]`, `is not an output of this model, wanted logits, residual, feature_indices, feature_acts, ${GENERATED.join(", ")} or the name of a hook`);
  }
  const { width } = readableHook(name === "residual" ? "parameters[hook_name]" : `outputs[${JSON.stringify(name)}]`, hookName, model.engine.info);
  const positions = positionsOf(name, parameters, "all");
  const columns = positions === "last" ? 1 : batch.width;
  requireFits(name, batch.prompts.length * columns * width, 'ask for positions "last" or for fewer prompts');
  const values = new Float32Array(batch.prompts.length * columns * width);
  const request = create(ForwardRequestSchema, {
    model: model.name,
    prompts: batch.prompts.map(({ ids }) => ({ prompt: { case: "tokens" as const, value: { tokenIds: Array.from(ids) } } })),
    hookNames: [hookName],
    outputDtype: DataType.F32,
    interventions: [...interventions],
    ...(positions === "last" ? { positions: { promptPositions: [-1] } } : {}),
  });
  for await (const { promptIndex = 0, tokenStart = 0, tensor } of forwardHandler(parts)(request, context)) {
    const start = positions === "last" ? 0 : (batch.starts[promptIndex] ?? 0) + tokenStart;
    values.set(f32View(tensor?.data ?? new Uint8Array()), (promptIndex * columns + start) * width);
  }
  return { name, shape: [batch.prompts.length, columns, width], values };
}

/** [B, P, K] features and activations, strongest first; beyond a row's last pair and in padding both are 0. */
async function codes({ parts, model, batch, interventions, context }: Run, name: string, parameters: Parameters): Promise<OutputTensor[]> {
  const asked = parameters.string("sae");
  if (asked === undefined) throw invalidArgument("parameters[sae]", "is not set, wanted an SAE for the outputs feature_indices and feature_acts");
  if (interventions.length > 0) throw invalidArgument("parameters[interventions]", "is given with outputs of an SAE, wanted none: read the residual under interventions and send it to the SAE's encode model");
  const sae = asked.includes("/") ? asked : `${model.name}/saes/${asked}`;
  const positions = positionsOf(name, parameters, "all");
  const input = create(EncodeRequestSchema, {
    sae,
    input: { case: "sequences", value: { sequences: batch.prompts.map(({ ids }) => ({ tokenIds: Array.from(ids) })) } },
    activationDtype: DataType.F32,
    maxFeaturesPerToken: parameters.count("top_features") ?? 0,
  });
  const columns = positions === "last" ? 1 : batch.width;
  return codeTensors(await encodeChunk(input, parts, context), rowPlaces(batch, positions), [batch.prompts.length, columns]);
}

/** Which packed row goes to which row of [B, P]. */
function rowPlaces({ prompts, starts, width }: PromptBatch, positions: Positions): RowPlace[] {
  let first = 0;
  return prompts.flatMap(({ ids }, b) => {
    const row = first;
    first += ids.length;
    if (positions === "last") return [{ row: row + ids.length - 1, place: b }];
    return Array.from(ids, (_, at) => ({ row: row + at, place: b * width + (starts[b] ?? 0) + at }));
  });
}

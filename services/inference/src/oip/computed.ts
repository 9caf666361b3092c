import { create } from "@bufbuild/protobuf";
import type { Intervention } from "@mistral-sae/contracts/mistral_sae/common/v1/intervention";
import { DataType } from "@mistral-sae/contracts/mistral_sae/common/v1/tensor";
import { ForwardRequestSchema } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import { EncodeRequestSchema } from "@mistral-sae/contracts/mistral_sae/sae/v1/sae";
import { type CallContext, invalidArgument } from "@mistral-sae/rpc";
import { f32View } from "@mistral-sae/tensor";
import { forwardHandler } from "../handlers/forward.ts";
import { promptLogits } from "../handlers/logits.ts";
import type { Parts } from "../handlers/parts.ts";
import { readableHook } from "../interventions/hooks.ts";
import type { LoadedModel } from "../models/loaded-model.ts";
import { codeTensors, encodeChunk, type RowPlace } from "./codes.ts";
import { GENERATED } from "./generated.ts";
import { type OutputTensor, requireFits } from "./outputs.ts";
import type { Parameters } from "./parameters.ts";
import type { PromptBatch } from "./prompts.ts";

/** A request to a language model, read. */
export interface Run {
  readonly parts: Parts;
  readonly model: LoadedModel;
  readonly batch: PromptBatch;
  readonly interventions: readonly Intervention[];
  readonly context: CallContext;
}

/** One output of a language model that is computed from its prompts; codes come as two. */
export async function computeOutput(run: Run, name: string, parameters: Parameters): Promise<readonly OutputTensor[]> {
  if (name === "logits") return [await logits(run, positionsOf(name, parameters, "last"))];
  if (name === "feature_indices" || name === "feature_acts") return codes(run, name, parameters);
  return [await residual(run, name, parameters)];
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

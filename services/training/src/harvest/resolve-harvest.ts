import { DataType } from "@mistral-sae/contracts/mistral_sae/common/v1/tensor";
import type { GetCapabilitiesResponse } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import type { HarvestActivationsRequest } from "@mistral-sae/contracts/mistral_sae/training/v1/training";
import { invalidArgument } from "@mistral-sae/rpc";
import type { FloatDType } from "@mistral-sae/tensor";
import { readableHook, servedModel, type ServedModel } from "../runs/model-facts.ts";
import { CONTEXT_SIZE, storedDType } from "../runs/resolve-config.ts";
import type { HarvestHook } from "./harvest-plan.ts";

/** A harvest with every default filled in and every hook's width known. */
export interface ResolvedHarvest {
  readonly model: ServedModel;
  readonly hooks: readonly HarvestHook[];
  readonly contextSize: number;
  readonly dtype: FloatDType;
}

/** @throws RpcError INVALID_ARGUMENT naming the field. */
export function resolveHarvest(request: HarvestActivationsRequest, capabilities: GetCapabilitiesResponse): ResolvedHarvest {
  const { hookNames, corpus, tokens, activationDtype } = request;
  if (hookNames.length === 0) throw invalidArgument("hook_names", "got none, wanted at least 1");
  const hooks = hookNames.map((hookName, at) => readableHook(capabilities, hookName, `hook_names[${at}]`));
  const twice = hookNames.findIndex((name, at) => hookNames.indexOf(name) < at);
  if (twice >= 0) throw invalidArgument(`hook_names[${twice}]`, `got ${hookNames[twice]} twice, wanted each hook once`);
  if ((corpus?.uri ?? "") === "") throw invalidArgument("corpus.uri", "got nothing, wanted a file, folder or glob");
  if (tokens > BigInt(Number.MAX_SAFE_INTEGER)) throw invalidArgument("tokens", `got ${tokens}, wanted at most ${Number.MAX_SAFE_INTEGER}`);
  const model = servedModel(capabilities);
  const contextSize = request.contextSize || Math.min(CONTEXT_SIZE, model.nCtx);
  if (contextSize < 2 || contextSize > model.nCtx) throw invalidArgument("context_size", `got ${contextSize}, wanted 2 to ${model.nCtx}`);
  const dtype = storedDType({ activationDtype: activationDtype || DataType.BF16 }, "activation_dtype");
  return { model, hooks, contextSize, dtype };
}

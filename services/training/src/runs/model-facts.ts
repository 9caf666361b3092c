import type { GetCapabilitiesResponse } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import { failedPrecondition, invalidArgument } from "@mistral-sae/rpc";

/** What harvesting needs to know of the model. */
export interface ServedModel {
  /** models/{model}. */
  readonly name: string;
  /** SHA-256 over config, tokenizer and weights. */
  readonly digest: string;
  /** Longest context. */
  readonly nCtx: number;
  readonly bosTokenId: number | undefined;
  /** Values of a residual. */
  readonly dModel: number;
}

/** A hook that can be read. */
export interface HookFacts {
  readonly hookName: string;
  /** Values of a row at the hook. */
  readonly width: number;
  /** Why it cannot be written, where it cannot: an SAE is then not spliced into the model. */
  readonly readOnly?: string;
}

/** What a run needs to know of the model, fixed when the run is made; the hook is that of the SAE's input. */
export interface ModelFacts extends ServedModel, HookFacts {
  /** The hook of a transcoder's output. */
  readonly out?: HookFacts;
}

/** The hook whose activations the SAE reconstructs. */
export function outputHook(model: ModelFacts): HookFacts {
  return model.out ?? model;
}

/** Longest list of hooks that an error spells out. */
const HOOKS_NAMED = 8;

/** The facts of hooks that can be read; `hookNameOut` is empty but for a transcoder. @throws RpcError INVALID_ARGUMENT on other hooks. */
export function modelFacts(capabilities: GetCapabilitiesResponse, hookName: string, hookNameOut: string): ModelFacts {
  const facts: ModelFacts = { ...servedModel(capabilities), ...readableHook(capabilities, hookName, "config.hook_name") };
  if (hookNameOut === "") return facts;
  if (hookNameOut === hookName) throw invalidArgument("config.hook_name_out", `got ${JSON.stringify(hookNameOut)}, which is hook_name too, wanted another hook for a transcoder, or nothing`);
  return { ...facts, out: readableHook(capabilities, hookNameOut, "config.hook_name_out") };
}

export function servedModel({ model, limits }: GetCapabilitiesResponse): ServedModel {
  if (model === undefined) throw failedPrecondition("MODEL_UNKNOWN", "the inference service describes no model");
  const nCtx = Math.min(model.nCtx, limits?.maxContextTokens ?? model.nCtx);
  return { name: model.name, digest: model.digest, nCtx, bosTokenId: model.bosTokenId, dModel: model.dModel };
}

/** @throws RpcError INVALID_ARGUMENT naming `field` when there is no such hook or it cannot be read. */
export function readableHook({ hooks }: GetCapabilitiesResponse, hookName: string, field: string): HookFacts {
  const hook = hooks.find((known) => known.hookName === hookName);
  if (hook === undefined) {
    const readable = hooks.filter((known) => known.readable).map((known) => known.hookName);
    const named = readable.length <= HOOKS_NAMED ? readable.join(", ") : `${readable.slice(0, HOOKS_NAMED).join(", ")} and ${readable.length - HOOKS_NAMED} more`;
    throw invalidArgument(field, `got ${JSON.stringify(hookName)}, wanted one of ${named}`, "HOOK_UNKNOWN");
  }
  if (!hook.readable) throw invalidArgument(field, `${hookName} cannot be read: ${hook.refusalReason}`, "HOOK_NOT_READABLE");
  return { hookName, width: hook.width, ...(hook.writable ? {} : { readOnly: hook.refusalReason }) };
}

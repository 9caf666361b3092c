import type { GetCapabilitiesResponse } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import { failedPrecondition, invalidArgument } from "@mistral-sae/rpc";

/** What a run needs to know of the model, fixed when the run is made. */
export interface ModelFacts {
  /** models/{model}. */
  readonly name: string;
  /** SHA-256 over config, tokenizer and weights. */
  readonly digest: string;
  /** Longest context. */
  readonly nCtx: number;
  readonly bosTokenId: number | undefined;
  readonly hookName: string;
  /** Values of a row at the hook, d_in. */
  readonly width: number;
}

/** Longest list of hooks that an error spells out. */
const HOOKS_NAMED = 8;

/** The facts of a hook that can be read. @throws RpcError INVALID_ARGUMENT on another hook. */
export function modelFacts({ model, hooks, limits }: GetCapabilitiesResponse, hookName: string): ModelFacts {
  if (model === undefined) throw failedPrecondition("MODEL_UNKNOWN", "the inference service describes no model");
  const readable = hooks.filter((hook) => hook.readable).map((hook) => hook.hookName);
  const named = readable.length <= HOOKS_NAMED ? readable.join(", ") : `${readable.slice(0, HOOKS_NAMED).join(", ")} and ${readable.length - HOOKS_NAMED} more`;
  const hook = hooks.find((known) => known.hookName === hookName);
  if (hook === undefined) throw invalidArgument("config.hook_name", `got ${JSON.stringify(hookName)}, wanted one of ${named}`, "HOOK_UNKNOWN");
  if (!hook.readable) throw invalidArgument("config.hook_name", `${hookName} cannot be read: ${hook.refusalReason}`, "HOOK_NOT_READABLE");
  const nCtx = Math.min(model.nCtx, limits?.maxContextTokens ?? model.nCtx);
  return { name: model.name, digest: model.digest, nCtx, bosTokenId: model.bosTokenId, hookName, width: hook.width };
}

import type { EngineInfo, HookInfo } from "@mistral-sae/model";
import { failedPrecondition, invalidArgument } from "@mistral-sae/rpc";

const RESIDUAL = /^blocks\.(\d+)\.hook_resid_(pre|post)$/;

/** The hook point of a name. @throws INVALID_ARGUMENT HOOK_UNKNOWN naming what there is. */
export function hookOf(field: string, hookName: string, info: EngineInfo): HookInfo {
  const hook = info.hooks.find((candidate) => candidate.hookName === hookName);
  if (hook !== undefined) return hook;
  throw invalidArgument(
    field,
    `got ${JSON.stringify(hookName)}, wanted a hook of this model, as blocks.L.hook_resid_pre or blocks.L.hook_resid_post with L from 0 to ${info.nLayers - 1}`,
    "HOOK_UNKNOWN",
  );
}

/** @throws FAILED_PRECONDITION HOOK_NOT_READABLE with the reason. */
export function readableHook(field: string, hookName: string, info: EngineInfo): HookInfo {
  const hook = hookOf(field, hookName, info);
  if (!hook.readable) throw failedPrecondition("HOOK_NOT_READABLE", `${field}: ${hookName} cannot be read: ${hook.refusalReason}`, { hook_name: hookName });
  return hook;
}

/** @throws FAILED_PRECONDITION HOOK_NOT_WRITABLE with the reason. */
export function writableHook(field: string, hookName: string, info: EngineInfo): HookInfo {
  const hook = hookOf(field, hookName, info);
  if (!hook.writable) throw failedPrecondition("HOOK_NOT_WRITABLE", `${field}: ${hookName} cannot be edited: ${hook.refusalReason}`, { hook_name: hookName });
  return hook;
}

/** One name for hooks at one place: resid_pre of a layer is resid_post of the layer before. */
export function siteOf(hookName: string): string {
  const [, layer, side] = RESIDUAL.exec(hookName) ?? [];
  if (side !== "pre" || layer === "0") return hookName;
  return `blocks.${Number(layer) - 1}.hook_resid_post`;
}

/** Residual sites from the embedding to the last layer, by their index; undefined for hooks off the residual stream. */
export function siteIndex(hookName: string): number | undefined {
  const [, layer, side] = RESIDUAL.exec(hookName) ?? [];
  if (layer === undefined) return undefined;
  return Number(layer) + (side === "post" ? 1 : 0);
}

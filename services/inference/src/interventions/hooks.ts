import type { EngineInfo, HookInfo } from "@mistral-sae/model";
import { failedPrecondition, invalidArgument } from "@mistral-sae/rpc";

const RESIDUAL = /^blocks\.(\d+)\.hook_resid_(pre|mid|post)$/;
const INNER = /^blocks\.(\d+)\.(attn|mlp|hook_attn|hook_mlp|hook_q|hook_k|hook_v)/;

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

/** Residual sites from the embedding to the last layer in order, two a layer; undefined for hooks off the residual stream. */
export function siteIndex(hookName: string): number | undefined {
  const [, layer, side] = RESIDUAL.exec(hookName) ?? [];
  if (layer === undefined) return undefined;
  return 2 * Number(layer) + (side === "post" ? 2 : side === "mid" ? 1 : 0);
}

/** The last residual site that a hook depends on, itself included. */
export function depthOf(hookName: string): number {
  const site = siteIndex(hookName);
  if (site !== undefined) return site;
  const [, layer, part = ""] = INNER.exec(hookName) ?? [];
  if (layer === undefined) return hookName === "hook_embed" ? 0 : Infinity;
  return 2 * Number(layer) + (part.endsWith("mlp") ? 1 : 0);
}

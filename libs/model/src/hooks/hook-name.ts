import { InputError } from "@mistral-sae/tensor";
import type { HookInfo } from "../engine.ts";

const residualHook = /^blocks\.(0|[1-9]\d*)\.hook_resid_(pre|post)$/;

/**
 * The residual stream has nLayers + 1 points: point c lies after c layers (0 is the embedding). TransformerLens names
 * it twice: `blocks.c.hook_resid_pre` and `blocks.{c-1}.hook_resid_post`. Returns c.
 * Throws InputError for any other hook and for layers that the model lacks.
 */
export function residualPoint(hook: string, nLayers: number, field = "hook_name"): number {
  const match = residualHook.exec(hook);
  if (match === null) {
    throw new InputError("unknown hook", { field, got: hook, wanted: `blocks.L.hook_resid_pre or blocks.L.hook_resid_post, L from 0 to ${nLayers - 1}` });
  }
  const layer = Number(match[1]);
  if (layer >= nLayers) throw new InputError(`hook ${hook} names a layer that the model lacks`, { field, got: `layer ${layer}`, wanted: `0 to ${nLayers - 1}` });
  return match[2] === "pre" ? layer : layer + 1;
}

/** Every hook point of a block that TransformerLens names and this engine does not serve yet. */
const unserved = ["hook_resid_mid", "hook_attn_out", "hook_mlp_out", "mlp.hook_post", "attn.hook_z", "attn.hook_q", "attn.hook_k", "attn.hook_v"] as const;

/** The hook points of a model, in the order of the forward pass, each with what it allows. */
export function hookTable(nLayers: number, dModel: number): HookInfo[] {
  const open = (hookName: string): HookInfo => ({ hookName, width: dModel, readable: true, writable: true, refusalReason: "" });
  const shut = (hookName: string): HookInfo => ({ hookName, width: 0, readable: false, writable: false, refusalReason: "only the residual stream between layers is served" });
  const table: HookInfo[] = [];
  for (let layer = 0; layer < nLayers; layer++) {
    table.push(open(`blocks.${layer}.hook_resid_pre`), ...unserved.map((name) => shut(`blocks.${layer}.${name}`)), open(`blocks.${layer}.hook_resid_post`));
  }
  return table;
}

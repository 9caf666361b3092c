import { InputError } from "@mistral-sae/tensor";
import type { ModelConfig } from "../config/model-config.ts";
import type { HookInfo } from "../engine.ts";
import { innerHooks, type InnerHook } from "./inner-hooks.ts";

const residualHook = /^blocks\.(0|[1-9]\d*)\.hook_resid_(pre|mid|post)$/;
const layerHook = /^blocks\.(0|[1-9]\d*)\.(.+)$/;
const offsets: Readonly<Record<string, number>> = { pre: 0, mid: 1, post: 2 };

/** The output of the last layer's normalisation before its weight: the end of the residual stream, each row over its root mean square. */
const normalizedHook = "ln_final.hook_normalized";

/** Where a hook lies. */
export type HookSite =
  /** A point of the residual stream. */
  | { readonly kind: "residual"; readonly point: number; readonly width: number }
  /** A value inside half-layer `half`: 2L the attention of layer L, 2L + 1 its MLP. */
  | { readonly kind: "inner"; readonly layer: number; readonly hook: InnerHook; readonly half: number; readonly point: number; readonly width: number }
  /** The end of the residual stream, normalised. */
  | { readonly kind: "normalized"; readonly point: number; readonly width: number };

/** The last point of the residual stream. */
export function lastPoint(nLayers: number): number {
  return 2 * nLayers;
}

/**
 * The residual stream has 2 nLayers + 1 points: point 2L lies before layer L, 2L + 1 between its attention and its MLP.
 * TransformerLens names the points between layers twice: `blocks.L.hook_resid_pre` and `blocks.{L-1}.hook_resid_post`;
 * the first one is `hook_embed` as well. Throws InputError for any other hook and for layers that the model lacks.
 */
export function residualPoint(hook: string, nLayers: number, field = "hook_name"): number {
  if (hook === "hook_embed") return 0;
  const match = residualHook.exec(hook);
  if (match === null) {
    throw new InputError("unknown residual hook", { field, got: hook, wanted: `blocks.L.hook_resid_pre, hook_resid_mid or hook_resid_post, L from 0 to ${nLayers - 1}` });
  }
  return 2 * requireLayer(hook, Number(match[1]), nLayers, field) + offsets[match[2]!]!;
}

/** The place of any hook. Its `point` is the residual point that a pass must reach. Throws InputError for unknown hooks and layers. */
export function hookSite(hook: string, config: ModelConfig, field = "hook_name"): HookSite {
  const { nLayers, dModel } = config;
  if (hook === normalizedHook) return { kind: "normalized", point: lastPoint(nLayers), width: dModel };
  const [, layer, name = ""] = layerHook.exec(hook) ?? [];
  const inner = innerHooks.get(name as InnerHook);
  if (inner === undefined) {
    if (hook !== "hook_embed" && !residualHook.test(hook)) throw new InputError("unknown hook", { field, got: hook, wanted: `hook_embed, ${normalizedHook}, or blocks.L. (L from 0 to ${nLayers - 1}) and hook_resid_pre, hook_resid_mid, hook_resid_post, ${[...innerHooks.keys()].join(", ")}` });
    return { kind: "residual", point: residualPoint(hook, nLayers, field), width: dModel };
  }
  const at = requireLayer(hook, Number(layer), nLayers, field);
  const half = 2 * at + (inner.part === "mlp" ? 1 : 0);
  return { kind: "inner", layer: at, hook: name as InnerHook, half, point: half + 1, width: inner.width(config) };
}

function requireLayer(hook: string, layer: number, nLayers: number, field: string): number {
  if (layer >= nLayers) throw new InputError(`hook ${hook} names a layer that the model lacks`, { field, got: `layer ${layer}`, wanted: `0 to ${nLayers - 1}` });
  return layer;
}

/** The hook points of a model, in the order of the forward pass, each with what it allows. */
export function hookTable(config: ModelConfig): HookInfo[] {
  const { nLayers, dModel } = config;
  const open = (hookName: string): HookInfo => ({ hookName, width: dModel, readable: true, writable: true, refusalReason: "" });
  const readOnly = (hookName: string, width: number): HookInfo => ({ hookName, width, readable: true, writable: false, refusalReason: "only the residual stream is written: edit it at a hook_resid point" });
  const table: HookInfo[] = [open("hook_embed")];
  for (let layer = 0; layer < nLayers; layer++) {
    const inner = (part: "attention" | "mlp"): HookInfo[] => [...innerHooks].filter(([, hook]) => hook.part === part).map(([name, hook]) => readOnly(`blocks.${layer}.${name}`, hook.width(config)));
    table.push(open(`blocks.${layer}.hook_resid_pre`), ...inner("attention"), open(`blocks.${layer}.hook_resid_mid`), ...inner("mlp"), open(`blocks.${layer}.hook_resid_post`));
  }
  return [...table, readOnly(normalizedHook, dModel)];
}

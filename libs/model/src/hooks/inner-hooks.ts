import type { ModelConfig } from "../config/model-config.ts";

/** Values inside a layer, by their TransformerLens names after `blocks.L.`. */
export type InnerHook = "attn.hook_q" | "attn.hook_k" | "attn.hook_v" | "attn.hook_z" | "hook_attn_out" | "mlp.hook_post" | "hook_mlp_out";

/** Which half of a layer a value belongs to, and how wide a row of it is. */
export interface InnerHookShape {
  readonly part: "attention" | "mlp";
  /** Values of a row; heads lie one after another. */
  width(config: ModelConfig): number;
}

/**
 * In the order of the forward pass. q, k and v are read before rotation, k and v with the model's own key-value heads;
 * z is the heads' mixed values before the output projection; mlp.hook_post is act(gate) ∘ up.
 */
export const innerHooks: ReadonlyMap<InnerHook, InnerHookShape> = new Map<InnerHook, InnerHookShape>([
  ["attn.hook_q", { part: "attention", width: ({ nHeads, dHead }) => nHeads * dHead }],
  ["attn.hook_k", { part: "attention", width: ({ nKeyValueHeads, dHead }) => nKeyValueHeads * dHead }],
  ["attn.hook_v", { part: "attention", width: ({ nKeyValueHeads, dHead }) => nKeyValueHeads * dHead }],
  ["attn.hook_z", { part: "attention", width: ({ nHeads, dHead }) => nHeads * dHead }],
  ["hook_attn_out", { part: "attention", width: ({ dModel }) => dModel }],
  ["mlp.hook_post", { part: "mlp", width: ({ dMlp }) => dMlp }],
  ["hook_mlp_out", { part: "mlp", width: ({ dModel }) => dModel }],
]);

/** Name of the graph output of a value inside a layer. */
export function innerName(layer: number, hook: InnerHook): string {
  return `layer_${layer}.${hook}`;
}

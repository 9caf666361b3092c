import { unimplemented } from "@mistral-sae/rpc";

/**
 * The module whose output a hook is, as Delphi and sparsify name it: `layers.16` is the output of block 16.
 * @throws RpcError UNIMPLEMENTED for hooks that are the output of no module.
 */
export function modulePath(hookName: string): string {
  const [, layer, point] = /^blocks\.(\d+)\.(.+)$/.exec(hookName) ?? [];
  if (layer !== undefined) {
    if (point === "hook_resid_post") return `layers.${layer}`;
    // What goes into a block came out of the one before.
    if (point === "hook_resid_pre" && layer !== "0") return `layers.${Number(layer) - 1}`;
    if (point === "hook_mlp_out") return `layers.${layer}.mlp`;
    if (point === "hook_attn_out") return `layers.${layer}.self_attn`;
  }
  if (hookName === "hook_embed" || hookName === "blocks.0.hook_resid_pre") return "embed_tokens";
  throw unimplemented(`${hookName} is the output of no module: Delphi's cache has no name for it; export the index as Parquet`);
}

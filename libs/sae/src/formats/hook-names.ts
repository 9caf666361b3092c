const OUTPUT_OF: Readonly<Record<string, string>> = { "": "hook_resid_post", ".mlp": "hook_mlp_out", ".self_attn": "hook_attn_out" };

/**
 * TransformerLens' name for the output of a module of a HF model: `layers.16` is `blocks.16.hook_resid_post`.
 * Undefined for a module that has none.
 */
export function hookOfModule(path: string): string | undefined {
  const found = /^(?:model\.)?layers\.(\d+)(\.mlp|\.self_attn)?$/.exec(path);
  if (found !== null) return `blocks.${found[1]}.${OUTPUT_OF[found[2] ?? ""]}`;
  return /^(?:model\.)?embed_tokens$/.test(path) ? "hook_embed" : undefined;
}

/** TransformerLens' name for the input of a module of a HF model: `layers.16` reads `blocks.16.hook_resid_pre`. Undefined for a module that has none. */
export function inputHookOfModule(path: string): string | undefined {
  const layer = /^(?:model\.)?layers\.(\d+)$/.exec(path)?.[1];
  return layer === undefined ? undefined : `blocks.${layer}.hook_resid_pre`;
}

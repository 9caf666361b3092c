import type { Fields } from "./fields.ts";

/** Far above any published model; keeps a lying file from asking for absurd tables. */
export const limits = { layers: 1024, width: 1 << 20, heads: 4096, vocab: 1 << 24, positions: 1 << 24 } as const;

/** The attention operator of onnxruntime takes no other widths. */
export function requireHeadWidth(fields: Fields, name: string, dHead: number): void {
  if (dHead % 8 !== 0) throw fields.error(name, "the attention operator of onnxruntime cannot take this width of a head", dHead, "a multiple of 8");
}

import type { Fields } from "./fields.ts";

/** Far above any published model; keeps a lying file from asking for absurd tables. */
export const limits = { layers: 1024, width: 1 << 20, heads: 4096, vocab: 1 << 24, positions: 1 << 24 } as const;

/** Rotary positions turn the values of a head in pairs. */
export function requireHeadWidth(fields: Fields, name: string, dHead: number): void {
  if (dHead % 2 !== 0) throw fields.error(name, "the values of a head cannot be rotated in pairs", dHead, "an even number");
}

import { InputError } from "@mistral-sae/tensor";
import type { FeatureLogits } from "../engine.ts";

/** Throws InputError unless `value` is an integer from 1 to `most`. */
export function requirePositive(field: string, value: number, most: number): void {
  if (!Number.isSafeInteger(value) || value < 1 || value > most) throw new InputError(`${field} is out of range`, { field, got: value, wanted: most === Infinity ? "an integer from 1" : `an integer from 1 to ${most}` });
}

/** [start, end) in pieces of at most `size`. */
export function rangesOf(start: number, end: number, size: number): (readonly [number, number])[] {
  const ranges: (readonly [number, number])[] = [];
  for (let from = start; from < end; from += size) ranges.push([from, Math.min(from + size, end)]);
  return ranges;
}

/** The logits of neighbouring runs of features as one. */
export function joinFeatureLogits(parts: readonly FeatureLogits[], topK: number): FeatureLogits {
  const ids = (of: (part: FeatureLogits) => Uint32Array): Uint32Array => {
    const all = new Uint32Array(parts.reduce((sum, part) => sum + of(part).length, 0));
    parts.reduce((at, part) => (all.set(of(part), at), at + of(part).length), 0);
    return all;
  };
  const logits = (of: (part: FeatureLogits) => Float32Array): Float32Array => {
    const all = new Float32Array(parts.reduce((sum, part) => sum + of(part).length, 0));
    parts.reduce((at, part) => (all.set(of(part), at), at + of(part).length), 0);
    return all;
  };
  return { topK, posTokenIds: ids((p) => p.posTokenIds), posLogits: logits((p) => p.posLogits), negTokenIds: ids((p) => p.negTokenIds), negLogits: logits((p) => p.negLogits) };
}

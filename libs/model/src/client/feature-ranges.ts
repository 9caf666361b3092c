import { InputError } from "@mistral-sae/tensor";
import type { FeatureLogits } from "../engine.ts";
import type { NeighbourRows } from "../sae/neighbours.ts";

/** Throws InputError unless `value` is an integer from 1 to `most`. */
export function requirePositive(field: string, value: number, most: number): void {
  if (!Number.isSafeInteger(value) || value < 1 || value > most) throw new InputError(`${field} is out of range`, { field, got: value, wanted: most === Infinity ? "an integer from 1" : `an integer from 1 to ${most}` });
}

/** Throws InputError unless [start, end) lies within `dSae` features. */
export function requireRange(start: number, end: number, dSae: number): void {
  if (!(Number.isSafeInteger(start) && Number.isSafeInteger(end) && start >= 0 && start <= end && end <= dSae)) {
    throw new InputError("the range of features lies outside the SAE", { field: "start, end", got: `${start} to ${end}`, wanted: `within 0 to ${dSae}` });
  }
}

/** [start, end) in pieces of at most `size`. */
export function rangesOf(start: number, end: number, size: number): (readonly [number, number])[] {
  const ranges: (readonly [number, number])[] = [];
  for (let from = start; from < end; from += size) ranges.push([from, Math.min(from + size, end)]);
  return ranges;
}

/** The logits of neighbouring runs of features as one. */
export function joinFeatureLogits(parts: readonly FeatureLogits[], topK: number): FeatureLogits {
  return {
    topK,
    posTokenIds: joinIds(parts.map((part) => part.posTokenIds)),
    posLogits: joinFloats(parts.map((part) => part.posLogits)),
    negTokenIds: joinIds(parts.map((part) => part.negTokenIds)),
    negLogits: joinFloats(parts.map((part) => part.negLogits)),
  };
}

/** The neighbours of neighbouring runs of features as one; `topK` stands where there are none. */
export function joinNeighbours(parts: readonly NeighbourRows[], topK: number): NeighbourRows {
  return {
    topK: parts[0]?.topK ?? topK,
    features: joinIds(parts.map((part) => part.features)),
    cosines: joinFloats(parts.map((part) => part.cosines)),
    norms: joinFloats(parts.map((part) => part.norms)),
  };
}

function joinIds(parts: readonly Uint32Array[]): Uint32Array {
  const all = new Uint32Array(parts.reduce((sum, part) => sum + part.length, 0));
  parts.reduce((at, part) => (all.set(part, at), at + part.length), 0);
  return all;
}

function joinFloats(parts: readonly Float32Array[]): Float32Array {
  const all = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  parts.reduce((at, part) => (all.set(part, at), at + part.length), 0);
  return all;
}

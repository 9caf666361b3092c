import { InputError } from "@mistral-sae/tensor";

/**
 * Cuts a document's token ids (no BOS) into the windows that the model reads as BOS + window: each of
 * `contextSize - 1` ids, the last one shorter. Nothing is dropped; an empty document has no window.
 * @returns Views of `ids`.
 */
export function* windowsOf(ids: Uint32Array, contextSize: number): Iterable<Uint32Array> {
  const length = contextSize - 1;
  if (!Number.isInteger(length) || length < 1) {
    throw new InputError(`a context of ${contextSize} tokens holds no window`, { field: "context_size", got: String(contextSize), wanted: "at least 2" });
  }
  for (let start = 0; start < ids.length; start += length) yield ids.subarray(start, start + length);
}

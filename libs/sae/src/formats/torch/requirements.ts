import { InputError } from "@mistral-sae/tensor";
import type { StateDict } from "./state-dict.ts";

/** Sizes of a [rows, columns] matrix of a state dict. Throws InputError when it is absent or no matrix. */
export function matrixSize(dict: StateDict, name: string): readonly [number, number] {
  const shape = dict.tensors.get(name)?.shape;
  if (shape === undefined || shape.length !== 2 || shape[0] === 0 || shape[1] === 0) {
    throw new InputError(`the state dict has no matrix "${name}"`, { file: dict.path, field: name, got: shape === undefined ? [...dict.tensors.keys()].slice(0, 12).join(", ") : `shape [${shape.join(", ")}]`, wanted: "two dimensions" });
  }
  return [shape[0]!, shape[1]!];
}

/** Refuses entries of the dict that are no tensors, apart from `known` ones. */
export function requireOnlyTensors(dict: StateDict, known: readonly string[] = []): void {
  for (const key of dict.values.keys()) {
    if (!known.includes(key)) throw new InputError(`the state dict has an entry "${key}" that is no tensor`, { file: dict.path, field: key, got: "another value", wanted: "a tensor" });
  }
}

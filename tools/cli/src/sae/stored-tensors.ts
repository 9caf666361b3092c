import { basename } from "node:path";
import { openStateDict, type SaeSource } from "@mistral-sae/sae";
import { openSafetensors } from "@mistral-sae/tensor";

/** A tensor as a file holds it. */
export interface StoredTensor {
  readonly file: string;
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly number[];
}

/** The tensors of an SAE's files, as stored: names, layouts and types are the format's own. */
export async function storedTensors(source: SaeSource): Promise<StoredTensor[]> {
  const tensors: StoredTensor[] = [];
  for (const path of source.files.filter((file) => /\.(safetensors|pt)$/.test(file))) {
    await using file = path.endsWith(".pt") ? await openStateDict(path) : await openSafetensors(path);
    for (const { name, dtype, shape } of file.tensors.values()) tensors.push({ file: basename(path), name, dtype, shape });
  }
  return tensors;
}

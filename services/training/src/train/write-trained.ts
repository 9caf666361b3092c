import { saelensName, writeSae, writeSparsify, type SaeWeights } from "@mistral-sae/sae";

/** Writes a trained SAE as a SAELens folder; what SAELens has no name for, a topk transcoder, as sparsify does. */
export async function writeTrained(folder: string, sae: SaeWeights): Promise<{ readonly weightsSha256: string }> {
  return saelensName(sae.config) === undefined ? await writeSparsify(folder, sae) : await writeSae(folder, sae);
}

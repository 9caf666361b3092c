import { invalidArgument, notFound, parseName } from "@mistral-sae/rpc";
import type { Catalogue } from "../catalogue/catalogue.ts";
import type { IndexRecord } from "../catalogue/records.ts";

/** The index over a corpus, or the newest one, of an SAE; READY. @throws NOT_FOUND. */
export function resolveIndex(catalogue: Catalogue, sae: string, corpus: string): IndexRecord {
  const corpusId = corpus === "" ? undefined : parseName("corpora/{corpus}", corpus, "corpus").corpus;
  const found = catalogue.indexes().find((index) => index.state === "ready" && index.sae.name === sae && (corpusId === undefined || index.corpus.id === corpusId));
  if (found === undefined) throw notFound(sae, corpusId === undefined ? "has no index that is ready; index a corpus with it first" : `has no index over ${corpus} that is ready`);
  return found;
}

/** The index of an SAE by its name. @throws INVALID_ARGUMENT, NOT_FOUND. */
export function indexOfSae(catalogue: Catalogue, field: string, sae: string, corpus: string): IndexRecord {
  parseName("models/{model}/saes/{sae}", sae, field);
  return resolveIndex(catalogue, sae, corpus);
}

/** The index and number of a feature by its name. @throws INVALID_ARGUMENT, NOT_FOUND. */
export function indexOfFeature(catalogue: Catalogue, field: string, name: string, corpus: string): { readonly index: IndexRecord; readonly feature: number } {
  const ids = parseName("models/{model}/saes/{sae}/features/{feature_index}", name, field);
  const index = resolveIndex(catalogue, `models/${ids.model}/saes/${ids.sae}`, corpus);
  return { index, feature: requireFeature(field, ids.feature_index, index) };
}

/** A feature's number below d_sae. @throws INVALID_ARGUMENT FEATURE_OUT_OF_RANGE. */
export function requireFeature(field: string, given: string | number, { sae }: { readonly sae: Pick<IndexRecord["sae"], "dSae"> }): number {
  const feature = typeof given === "number" ? given : /^\d{1,10}$/.test(given) ? Number(given) : Number.NaN;
  if (!(feature < sae.dSae)) throw invalidArgument(field, `got feature ${given}, wanted 0 to ${sae.dSae - 1}`, "FEATURE_OUT_OF_RANGE");
  return feature;
}

/** Name of a feature of an index. */
export function featureName({ sae }: Pick<IndexRecord, "sae">, feature: number): string {
  return `${sae.name}/features/${feature}`;
}

/** Tokens that statistics are over. */
export function countedTokens({ nTokens, nSpecialTokens, includeSpecialTokens }: IndexRecord): number {
  return includeSpecialTokens ? nTokens : nTokens - nSpecialTokens;
}

import { failedPrecondition } from "@mistral-sae/rpc";
import type { IndexRecord } from "../catalogue/records.ts";

/** Whether an index was imported from dashboards: examples of each feature, and not all of its activations. */
export function isDashboard({ importedFrom }: Pick<IndexRecord, "importedFrom">): boolean {
  return importedFrom === "neuronpedia" || importedFrom === "saedashboard";
}

/** @throws RpcError FAILED_PRECONDITION EXAMPLES_ONLY for an index that cannot tell `what`, since it holds examples alone. */
export function requireActivations(index: Pick<IndexRecord, "id" | "importedFrom">, what: string): void {
  if (!isDashboard(index)) return;
  throw failedPrecondition("EXAMPLES_ONLY", `indexes/${index.id} was imported from ${index.importedFrom}, which holds examples of each feature and not all of its activations: it does not tell ${what}; index the corpus itself`, { index: `indexes/${index.id}` });
}

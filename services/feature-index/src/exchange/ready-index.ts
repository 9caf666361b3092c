import { failedPrecondition, notFound, parseName } from "@mistral-sae/rpc";
import type { Catalogue } from "../catalogue/catalogue.ts";
import type { IndexRecord } from "../catalogue/records.ts";

/** The index of this name, READY. @throws RpcError INVALID_ARGUMENT, NOT_FOUND, FAILED_PRECONDITION INDEX_NOT_READY. */
export function requireReadyIndex(catalogue: Catalogue, name: string): IndexRecord {
  const index = catalogue.index(parseName("indexes/{index}", name, "index").index);
  if (index === undefined) throw notFound(name);
  if (index.state !== "ready") throw failedPrecondition("INDEX_NOT_READY", `${name} is ${index.state}; wait for ${index.operation}, or build it anew`, { index: name });
  return index;
}

import type { FeatureIndexService } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import { type Handlers, unimplemented } from "@mistral-sae/rpc";

type Names =
  | "ingestActivations"
  | "importNeuronpedia"
  | "importSaeDashboard"
  | "importDelphiCache";

/** What the contract holds and this version does not do. */
export function notYetHandlers(): Pick<Handlers<typeof FeatureIndexService>, Names> {
  const refuse = (what: string) => async () => Promise.reject(unimplemented(`${what} is not offered yet; use IndexCorpus, and Query to read`));
  return {
    ingestActivations: refuse("taking codes made elsewhere"),
    importNeuronpedia: refuse("reading Neuronpedia batches"),
    importSaeDashboard: refuse("reading SAEDashboard batches"),
    importDelphiCache: refuse("reading a Delphi cache"),
  };
}

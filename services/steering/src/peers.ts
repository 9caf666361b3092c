import { FeatureIndexService } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import { InferenceService } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import { SaeService } from "@mistral-sae/contracts/mistral_sae/sae/v1/sae";
import { type Client, createClient } from "@mistral-sae/rpc";

/** The services that steering calls. */
export interface Peers {
  readonly inference: Client<typeof InferenceService>;
  readonly saes: Client<typeof SaeService>;
  readonly index: Client<typeof FeatureIndexService>;
}

/** Clients of the services at these addresses (host:port). */
export function connectPeers(inference: string, featureIndex: string): Peers {
  return {
    inference: createClient(InferenceService, inference),
    saes: createClient(SaeService, inference),
    index: createClient(FeatureIndexService, featureIndex),
  };
}

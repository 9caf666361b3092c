import { createClient, type Client } from "@mistral-sae/rpc";
import { ExplanationService } from "@mistral-sae/contracts/mistral_sae/explanation/v1/explanation";
import { FeatureIndexService } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import { InferenceService } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import { OperationService } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";
import { SaeService } from "@mistral-sae/contracts/mistral_sae/sae/v1/sae";
import { SteeringService } from "@mistral-sae/contracts/mistral_sae/steering/v1/steering";
import { TrainingService } from "@mistral-sae/contracts/mistral_sae/training/v1/training";

/** A client of every service, all at one address: the gateway's. */
export interface Clients {
  readonly inference: Client<typeof InferenceService>;
  readonly sae: Client<typeof SaeService>;
  readonly training: Client<typeof TrainingService>;
  readonly featureIndex: Client<typeof FeatureIndexService>;
  readonly explanation: Client<typeof ExplanationService>;
  readonly steering: Client<typeof SteeringService>;
  readonly operations: Client<typeof OperationService>;
}

/** Clients at `host:port`. Nothing is dialled before the first call. */
export function connect(address: string): Clients {
  return {
    inference: createClient(InferenceService, address),
    sae: createClient(SaeService, address),
    training: createClient(TrainingService, address),
    featureIndex: createClient(FeatureIndexService, address),
    explanation: createClient(ExplanationService, address),
    steering: createClient(SteeringService, address),
    operations: createClient(OperationService, address),
  };
}

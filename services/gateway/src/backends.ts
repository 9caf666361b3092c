import type { DescService } from "@bufbuild/protobuf";
import { GRPCInferenceService } from "@mistral-sae/contracts/inference/grpc_predict_v2";
import { ExplanationService } from "@mistral-sae/contracts/mistral_sae/explanation/v1/explanation";
import { FeatureIndexService } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import { InferenceService } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import { OperationService } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";
import { SaeService } from "@mistral-sae/contracts/mistral_sae/sae/v1/sae";
import { SteeringService } from "@mistral-sae/contracts/mistral_sae/steering/v1/steering";
import { TrainingService } from "@mistral-sae/contracts/mistral_sae/training/v1/training";
import { typeRegistry } from "@mistral-sae/rpc";
import type { BackendName } from "./config.ts";

/** The services that each backend owns. Every backend serves OperationService for its own operations besides. */
export const servicesOf: Readonly<Record<BackendName, readonly DescService[]>> = {
  inference: [InferenceService, SaeService, GRPCInferenceService],
  training: [TrainingService],
  "feature-index": [FeatureIndexService],
  explanation: [ExplanationService],
  steering: [SteeringService],
};

/** The backends by name. */
export const backendNames = Object.keys(servicesOf) as readonly BackendName[];

/** Every message type that can travel through the gateway. */
export const registry = typeRegistry([...Object.values(servicesOf).flat(), OperationService]);

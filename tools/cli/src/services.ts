import { ExplanationService } from "@mistral-sae/contracts/mistral_sae/explanation/v1/explanation";
import { FeatureIndexService } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import { InferenceService } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import { OperationService } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";
import { SaeService } from "@mistral-sae/contracts/mistral_sae/sae/v1/sae";
import { SteeringService } from "@mistral-sae/contracts/mistral_sae/steering/v1/steering";
import { TrainingService } from "@mistral-sae/contracts/mistral_sae/training/v1/training";

/** Every service of the system. */
export const services = [
  InferenceService,
  SaeService,
  TrainingService,
  FeatureIndexService,
  ExplanationService,
  SteeringService,
  OperationService,
] as const;

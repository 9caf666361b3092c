export { type InferenceConfig, inferenceDefaults, modelIdOf, type ModelSource, readConfig } from "./config.ts";
export { createInferenceServices, type InferenceServices } from "./service.ts";

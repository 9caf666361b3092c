export { type InferenceConfig, inferenceDefaults, modelIdOf, type ModelSource, readConfig } from "./config.ts";
export type { EngineOpener } from "./models/loaded-model.ts";
export { createInferenceServices, type InferenceServices } from "./service.ts";

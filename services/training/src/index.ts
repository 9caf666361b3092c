export { readConfig, trainingDefaults, type TrainingServiceConfig } from "./config.ts";
export { openTraining, type OpenTraining } from "./open-training.ts";

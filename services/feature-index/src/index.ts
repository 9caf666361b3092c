export { type FeatureIndexConfig, featureIndexDefaults, readConfig } from "./config.ts";
export { type FeatureIndex, openFeatureIndex } from "./service.ts";

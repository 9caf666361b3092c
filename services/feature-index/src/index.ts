export { type FeatureIndexConfig, featureIndexDefaults, readConfig } from "./config.ts";
export { type FeatureIndex, openFeatureIndex } from "./service.ts";
export { blockWorkers, storeBlock } from "./indexing/store-block.ts";
export { StoredBlocks } from "./indexing/stored-blocks.ts";

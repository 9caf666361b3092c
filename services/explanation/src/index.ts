export { type EndpointConfig, type ExplanationConfig, explanationDefaults, readConfig } from "./config.ts";
export { type OpenExplanationService, openExplanationService } from "./open-service.ts";

export { readConfig, type SteeringConfig, steeringDefaults } from "./config.ts";
export { type OpenSteeringService, openSteeringService } from "./open-service.ts";
export { type SuggestSettings, suggestDefaults } from "./suggest/suggest-settings.ts";

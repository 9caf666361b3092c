export { downloadDefaults, downloadModel, type DownloadOptions, type DownloadProgress } from "./download-model.ts";
export { findCached } from "./cached-model.ts";
export { HubError } from "./hub-error.ts";
export { looksLikeHubId, parseHubId, usualRevision, type HubModel } from "./repository.ts";
export { type Patience, usualPatience } from "./request.ts";
export { type HubSettings, readHubSettings } from "./settings.ts";

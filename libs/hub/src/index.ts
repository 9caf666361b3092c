export { downloadModel } from "./download-model.ts";
export { downloadSae, type DownloadSaeOptions } from "./download-sae.ts";
export { downloadDefaults, type DownloadOptions, type DownloadProgress } from "./fetch-files.ts";
export { findCached } from "./cached-model.ts";
export { HubError } from "./hub-error.ts";
export { looksLikeHubId, parseHubId, usualRevision, type HubModel } from "./repository.ts";
export { type Patience, usualPatience } from "./request.ts";
export { type HubSettings, readHubSettings } from "./settings.ts";
export { type UploadedSae, uploadSae, type UploadSaeOptions } from "./upload-sae.ts";

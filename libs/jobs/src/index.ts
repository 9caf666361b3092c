export {
  defineJob,
  type DurableState,
  type Job,
  type JobContext,
  type JobDefinition,
  once,
  type StageProgress,
} from "./definition.ts";
export type { EmbeddedEngineOptions } from "./embedded/embedded-engine.ts";
export type { RetryPolicy } from "./embedded/retry.ts";
export type { ListOptions, OperationPage, StartOptions } from "./job-engine.ts";
export { JobEngine } from "./open-engine.ts";
export { operationHandlers } from "./operation-handlers.ts";
export { operationId, operationName } from "./operation-name.ts";

export { type CallOptions, type Client, type ClientOptions, createClient } from "./client.ts";
export { connectRoutes } from "./connect-routes.ts";
export {
  aborted,
  alreadyExists,
  cancelled,
  Code,
  deadlineExceeded,
  failedPrecondition,
  type FieldViolation,
  internal,
  invalidArgument,
  notFound,
  resourceExhausted,
  RpcError,
  type RpcErrorDetails,
  unavailable,
  unimplemented,
} from "./errors.ts";
export {
  type AnyHandler,
  type CallContext,
  type Handlers,
  implement,
  type MethodHandler,
  type ServiceImplementation,
} from "./handlers.ts";
export { HealthState, healthService } from "./health.ts";
export { matchName, parseName, requireId } from "./names.ts";
export { type CallEnd, type CallObserver, silentObserver } from "./observer.ts";
export { DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE, nextPageToken, pageOf, type PageRequest, type PageStart, pageStart } from "./paging.ts";
export { runService, type ServiceProcess, whenParentEnds } from "./run-service.ts";
export { type RunningServer, type ServerOptions, serverDefaults, startServer } from "./server.ts";
export { fromConnectError, fromStatus, fromStatusBytes, statusBytes, toConnectError, toRpcError, toStatus } from "./status.ts";
export { typeRegistry } from "./type-registry.ts";

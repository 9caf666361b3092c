export { lockData, runningSystem, type Addresses, type RunFile } from "./run-file.ts";
export type { ServiceName } from "./services.ts";
export { endOf, StartError, type ProcessExit } from "./supervised-process.ts";
export { startSystem, type RunningSystem, type SystemOptions } from "./system.ts";

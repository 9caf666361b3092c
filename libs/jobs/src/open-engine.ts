import { EmbeddedEngine, type EmbeddedEngineOptions } from "./embedded/embedded-engine.ts";
import type { JobEngine as Port } from "./job-engine.ts";

export type JobEngine = Port;

/** Opens the engine that the configuration asks for: today always the embedded one. */
export const JobEngine = {
  open: async (options: EmbeddedEngineOptions): Promise<Port> => await Promise.resolve(new EmbeddedEngine(options)),
};

import type { JobEngine } from "@mistral-sae/jobs";
import type { InferenceConfig } from "../config.ts";
import type { ModelRegistry } from "../models/model-registry.ts";
import type { SaeRegistry } from "../saes/sae-registry.ts";

/** What the handlers work with. */
export interface Parts {
  readonly config: InferenceConfig;
  readonly models: ModelRegistry;
  readonly saes: SaeRegistry;
  readonly jobs: JobEngine;
}

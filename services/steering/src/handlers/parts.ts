import type { JobEngine } from "@mistral-sae/jobs";
import type { Peers } from "../peers.ts";
import type { SteeringStore } from "../presets/steering-store.ts";

/** What the handlers work with. */
export interface Parts {
  readonly peers: Peers;
  readonly store: SteeringStore;
  readonly engine: JobEngine;
}

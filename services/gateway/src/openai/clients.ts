import { InferenceService } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import { SteeringService } from "@mistral-sae/contracts/mistral_sae/steering/v1/steering";
import { type CallOptions, type Client, createClient } from "@mistral-sae/rpc";
import type { GatewayConfig } from "../config.ts";
import { explainAway } from "../forward.ts";

/** The services that answer the routes. */
export interface Backends {
  readonly inference: Client<typeof InferenceService>;
  readonly steering: Client<typeof SteeringService>;
  /** Names the service in the error of a connection that could not be made. */
  explain(error: unknown, backend: "inference" | "steering"): unknown;
}

export function openAiBackends(addresses: GatewayConfig["backends"]): Backends {
  return {
    inference: createClient(InferenceService, addresses.inference),
    steering: createClient(SteeringService, addresses.steering),
    explain: (error, backend) => explainAway(error, backend, addresses[backend]),
  };
}

/** A request while it is answered. */
export interface Exchange {
  readonly backends: Backends;
  /** Headers and signal of calls made for it. */
  readonly options: CallOptions & { readonly signal: AbortSignal };
}

import { InferenceService } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import type { Model } from "@mistral-sae/contracts/mistral_sae/inference/v1/model";
import { type Sae, SaeService, SaeState } from "@mistral-sae/contracts/mistral_sae/sae/v1/sae";
import { type Client, createClient, failedPrecondition, unavailable } from "@mistral-sae/rpc";

/** The inference service: the model's tokenizer, and the SAEs beside it. */
export interface Peers {
  readonly inference: Client<typeof InferenceService>;
  readonly saes: Client<typeof SaeService>;
}

export function connectPeers(inference: string): Peers {
  return { inference: createClient(InferenceService, inference), saes: createClient(SaeService, inference) };
}

/** A model that is loaded; the only one for an empty name. Rejects with the inference service's error otherwise. */
export async function loadedModel({ inference }: Peers, name: string, signal: AbortSignal): Promise<Model> {
  const { model } = await inference.getCapabilities({ model: name }, { signal });
  if (model === undefined) throw failedPrecondition("MODEL_NOT_LOADED", `${name}: the inference service does not say which model it is`);
  return model;
}

/** An SAE that can encode. @throws FAILED_PRECONDITION SAE_NOT_READY, UNAVAILABLE SAE_LOADING (the inference service has just started). */
export async function readySae({ saes }: Peers, name: string, signal: AbortSignal): Promise<Sae> {
  const { sae } = await saes.getSae({ name }, { signal });
  if (sae?.state === SaeState.LOADING) throw unavailable("SAE_LOADING", `${name} is being loaded`);
  if (sae === undefined || sae.state !== SaeState.READY) {
    throw failedPrecondition("SAE_NOT_READY", `${name}: its state is ${stateName(sae?.state)}, wanted READY; load it first`, { sae: name });
  }
  return sae;
}

function stateName(state: SaeState | undefined): string {
  return Object.entries(SaeState).find(([, value]) => value === state)?.[0] ?? "unknown";
}

import { ModelState, type Model } from "@mistral-sae/contracts/mistral_sae/inference/v1/model";

/** Takes the health of services by name; a running server does. */
export interface HealthSetter {
  setServing(service: string, serving: boolean): void;
}

/**
 * Tells health checks of models: `models/{model}` serves while the model is READY, and the services that need one
 * serve unless every model that was to be there is away. A process without any model serves: it can load one.
 */
export function reportHealth(models: readonly Model[], services: readonly string[], health: HealthSetter): void {
  for (const { name, state } of models) health.setServing(name, state === ModelState.READY);
  const wanted = models.filter(({ state }) => state !== ModelState.COLD);
  const serving = wanted.length === 0 || wanted.some(({ state }) => state === ModelState.READY);
  for (const service of services) health.setServing(service, serving);
}

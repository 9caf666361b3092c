import type { ServiceImplementation } from "@mistral-sae/rpc";
import { backendNames, servicesOf } from "./backends.ts";
import type { BackendName, GatewayConfig } from "./config.ts";
import { forward } from "./forward.ts";
import { operationService } from "./operations.ts";

/** Every service of the system, each forwarded to the backend that owns it. */
export function gatewayServices(backends: GatewayConfig["backends"]): readonly ServiceImplementation[] {
  const forwarded = backendNames.flatMap((name) => servicesOf[name].map((service) => forward(service, name, backends[name])));
  return [...forwarded, operationService(backends)];
}

/** Full names of the services that a backend owns. */
export function serviceNamesOf(backend: BackendName): readonly string[] {
  return servicesOf[backend].map(({ typeName }) => typeName);
}

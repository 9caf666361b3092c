import { join } from "node:path";
import { demoModelDir } from "@mistral-sae/demo-model";
import { ServiceProcess } from "./service-process.ts";

/** Every service, each a process of its own, with the demo model loaded. */
export interface EveryService {
  /** host:port of the gateway's gRPC. */
  readonly gateway: string;
  readonly services: readonly ServiceProcess[];
  /** The folder that a service keeps its data in. */
  dataOf(name: string): string;
  stop(): Promise<void>;
}

/** Where the inference service finds the demo model. */
export const MODELS = { MISTRAL_SAE_MODELS: `demo=${demoModelDir}`, MISTRAL_SAE_THREADS: "2" } as const;

/** Starts every service over a data folder. */
export async function startEveryService(data: string): Promise<EveryService> {
  const services: ServiceProcess[] = [];
  const dataOf = (name: string): string => join(data, name);
  const start = async (name: string, env: Readonly<Record<string, string>>): Promise<string> => {
    const service = await ServiceProcess.start(name, dataOf(name), env);
    services.push(service);
    return service.address;
  };
  const stop = async (): Promise<void> => {
    for (const service of services.toReversed()) await service.stop();
  };
  try {
    const inference = { MISTRAL_SAE_INFERENCE: await start("inference", MODELS) };
    const training = { MISTRAL_SAE_TRAINING: await start("training", { ...inference, MISTRAL_SAE_THREADS: "2" }) };
    const index = { MISTRAL_SAE_FEATURE_INDEX: await start("feature-index", { ...inference, MISTRAL_SAE_THREADS: "2" }) };
    const steering = { MISTRAL_SAE_STEERING: await start("steering", { ...inference, ...index }) };
    const explanation = { MISTRAL_SAE_EXPLANATION: await start("explanation", index) };
    const gateway = await start("gateway", { ...inference, ...training, ...index, ...steering, ...explanation, MISTRAL_SAE_GATEWAY_HTTP_LISTEN: "127.0.0.1:0" });
    return { gateway, services, dataOf, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

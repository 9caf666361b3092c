import { join } from "node:path";
import { OperationService } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";
import { SteeringService } from "@mistral-sae/contracts/mistral_sae/steering/v1/steering";
import { JobEngine, operationHandlers } from "@mistral-sae/jobs";
import { implement, type ServiceImplementation } from "@mistral-sae/rpc";
import type { SteeringConfig } from "./config.ts";
import { steeringHandlers } from "./handlers/steering.ts";
import { connectPeers } from "./peers.ts";
import { SteeringStore } from "./presets/steering-store.ts";
import { suggestJob } from "./suggest/suggest-job.ts";

/** The service without its server. */
export interface OpenSteeringService {
  readonly implementations: readonly ServiceImplementation[];
  readonly engine: JobEngine;
  readonly close: () => Promise<void>;
}

/** Opens store and job engine under `config.data`. Jobs left by a former process wait for `engine.recover()`. */
export async function openSteeringService(config: SteeringConfig): Promise<OpenSteeringService> {
  const peers = connectPeers(config.inference, config.featureIndex);
  const store = new SteeringStore(join(config.data, "steering.sqlite"));
  const engine = await JobEngine.open({
    service: "steering",
    path: join(config.data, "jobs.sqlite"),
    definitions: [suggestJob(peers, store, config.suggest)],
  });
  return {
    implementations: [
      implement(SteeringService, steeringHandlers({ peers, store, engine })),
      implement(OperationService, operationHandlers(engine)),
    ],
    engine,
    close: async () => {
      await engine.close();
      store.close();
    },
  };
}

import { join } from "node:path";
import { GRPCInferenceService } from "@mistral-sae/contracts/inference/grpc_predict_v2";
import { InferenceService } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import { OperationService } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";
import { SaeService } from "@mistral-sae/contracts/mistral_sae/sae/v1/sae";
import { JobEngine, operationHandlers } from "@mistral-sae/jobs";
import { implement, type ServiceImplementation } from "@mistral-sae/rpc";
import { Catalogue } from "./catalogue/catalogue.ts";
import type { InferenceConfig } from "./config.ts";
import { inferenceHandlers } from "./handlers/inference.ts";
import { saeHandlers } from "./handlers/saes.ts";
import { loadModelJob } from "./models/load-model.ts";
import type { EngineOpener } from "./models/loaded-model.ts";
import { type HealthSetter, reportHealth } from "./models/model-health.ts";
import { ModelRegistry } from "./models/model-registry.ts";
import { enginePrecision } from "./models/precision.ts";
import { openInferenceHandlers } from "./oip/handlers.ts";
import { createSaeJob } from "./saes/create-sae.ts";
import { SaeRegistry } from "./saes/sae-registry.ts";

/** The inference service without a listener. */
export interface InferenceServices {
  readonly services: readonly ServiceImplementation[];
  /** Loads the models and SAEs that are to be there, then takes up unfinished operations; `health` hears of models that come and go. */
  readonly load: (health?: HealthSetter) => Promise<void>;
  readonly close: () => Promise<void>;
}

const NEED_A_MODEL = [InferenceService.typeName, GRPCInferenceService.typeName];

/** Opens the catalogue and the jobs of the service; `load` makes it ready. Engines are opened by `openEngine` where it is given. */
export async function createInferenceServices(config: InferenceConfig, openEngine?: EngineOpener): Promise<InferenceServices> {
  const catalogue = new Catalogue(config.data);
  const models = new ModelRegistry(catalogue, config, openEngine);
  const saes = new SaeRegistry(catalogue, models);
  let changed: () => void = () => undefined;
  models.listener = { loaded: (model) => saes.modelLoaded(model), gone: (name) => saes.modelGone(name), changed: () => changed() };
  const jobs = await JobEngine.open({
    service: "inference",
    path: join(config.data, "jobs.sqlite"),
    definitions: [loadModelJob(models), createSaeJob({ models, saes })],
  });
  const parts = { config, models, saes, jobs };
  return {
    services: [
      implement(InferenceService, inferenceHandlers(parts)),
      implement(SaeService, saeHandlers(parts)),
      implement(OperationService, operationHandlers(jobs)),
      implement(GRPCInferenceService, openInferenceHandlers(parts)),
    ],
    load: async (health) => {
      for (const { id, folder, precision } of config.models) await models.load(id, folder, { remember: false, precision });
      const configured = new Set(config.models.map(({ id }) => id));
      for (const { id, uri, precision } of catalogue.models()) {
        // A model that was loaded by a call and is gone by now shows its failure in its state.
        if (!configured.has(id)) await models.load(id, uri, { remember: false, precision: enginePrecision(precision) }).catch(() => undefined);
      }
      saes.started();
      jobs.recover();
      if (health === undefined) return;
      changed = () => reportHealth(models.list(), NEED_A_MODEL, health);
      changed();
    },
    close: async () => {
      await jobs.close();
      await models.close();
      catalogue.close();
    },
  };
}

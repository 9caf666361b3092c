import { SteeringMethod } from "@mistral-sae/contracts/mistral_sae/common/v1/intervention";
import type { InferenceService } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import { type Handlers, pageOf } from "@mistral-sae/rpc";
import { METHODS } from "../interventions/methods.ts";
import { checkLoadModel, LOAD_MODEL } from "../models/load-model.ts";
import type { Parts } from "./parts.ts";

type Names = "listModels" | "getModel" | "loadModel" | "unloadModel" | "getCapabilities";

/** The handlers about models themselves. */
export function modelHandlers({ config, models, saes, jobs }: Parts): Pick<Handlers<typeof InferenceService>, Names> {
  return {
    listModels: async (request) => {
      const { rows, nextPageToken } = pageOf(models.list(), request, ({ name }) => name);
      return { models: [...rows], nextPageToken };
    },
    getModel: async ({ name }) => ({ model: models.get(name) }),
    loadModel: async (request) => {
      await checkLoadModel(request);
      return { operation: jobs.start(LOAD_MODEL, request, { requestId: request.requestId }) };
    },
    unloadModel: async ({ name }) => ({ model: await models.unload(name) }),
    getCapabilities: async ({ model: name }) => {
      const { name: resolved, engine, scheduler } = models.use(name);
      const { info } = engine;
      const { load } = scheduler;
      const { slots, cacheBytes } = await engine.usage();
      return {
        model: models.get(resolved),
        hooks: info.hooks.map((hook) => ({ ...hook })),
        methods: [...METHODS.keys()].sort((a: SteeringMethod, b: SteeringMethod) => a - b),
        limits: {
          maxContextTokens: info.nCtx,
          maxVariants: info.maxBatchRows,
          maxBatchRows: info.maxBatchRows,
          maxQueuedRequests: config.maxQueued,
          maxPrompts: config.maxPrompts,
        },
        saes: saes.ready(resolved),
        backend: info.backend,
        load: {
          rows: load.rows,
          queuedRequests: load.queued,
          activeRequests: load.active,
          kvBytesReserved: BigInt(load.reservedBytes),
          kvBytesPrefixes: BigInt(load.prefixBytes),
          kvBytesBudget: BigInt(info.cacheBytes),
          slots,
          kvBytesHeld: BigInt(cacheBytes),
          prefixes: load.prefixes,
        },
      };
    },
  };
}

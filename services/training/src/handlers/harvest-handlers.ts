import { openCorpus } from "@mistral-sae/corpus";
import type { TrainingService } from "@mistral-sae/contracts/mistral_sae/training/v1/training";
import type { Handlers } from "@mistral-sae/rpc";
import { resolveHarvest } from "../harvest/resolve-harvest.ts";
import { HARVEST_KIND } from "../jobs/harvest-job.ts";
import { corpusSourceOf } from "../wire/corpus-source.ts";
import type { TrainingParts } from "./training-handlers.ts";

export function harvestHandlers({ engine, peerOf }: TrainingParts): Pick<Handlers<typeof TrainingService>, "harvestActivations"> {
  return {
    harvestActivations: async (request, { signal }) => {
      resolveHarvest(request, await peerOf(request.model, signal).capabilities());
      await openCorpus(corpusSourceOf(request.corpus));
      return { operation: engine.start(HARVEST_KIND, request, { requestId: request.requestId }) };
    },
  };
}

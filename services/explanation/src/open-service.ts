import { join } from "node:path";
import { ExplanationService } from "@mistral-sae/contracts/mistral_sae/explanation/v1/explanation";
import { OperationService } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";
import { JobEngine, operationHandlers } from "@mistral-sae/jobs";
import { implement, type ServiceImplementation } from "@mistral-sae/rpc";
import type { ExplanationConfig } from "./config.ts";
import { ExplanationDesk } from "./explanation-desk.ts";
import { FeatureSource } from "./feature-source.ts";
import { explanationHandlers } from "./handlers.ts";
import { batchExplainJob } from "./jobs/batch-explain.ts";
import { batchScoreJob } from "./jobs/batch-score.ts";
import { Endpoints } from "./llm/endpoints.ts";
import { ExplanationStore } from "./store/explanation-store.ts";

/** The service without its server. */
export interface OpenExplanationService {
  readonly implementations: readonly ServiceImplementation[];
  readonly engine: JobEngine;
  readonly close: () => Promise<void>;
}

/** Opens store and job engine under `config.data`. Jobs left by a former process wait for `engine.recover()`. */
export async function openExplanationService(config: ExplanationConfig): Promise<OpenExplanationService> {
  const store = new ExplanationStore(join(config.data, "explanations.sqlite"));
  const desk = new ExplanationDesk(store, new FeatureSource(config.featureIndex), new Endpoints(config.endpoints));
  const engine = await JobEngine.open({
    service: "explanation",
    path: join(config.data, "jobs.sqlite"),
    definitions: [batchExplainJob(desk), batchScoreJob(desk)],
  });
  return {
    implementations: [
      implement(ExplanationService, explanationHandlers(desk, engine)),
      implement(OperationService, operationHandlers(engine)),
    ],
    engine,
    close: async () => {
      await engine.close();
      store.close();
    },
  };
}

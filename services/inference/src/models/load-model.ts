import { type LoadModelRequest, LoadModelRequestSchema } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import { ModelSchema, Precision } from "@mistral-sae/contracts/mistral_sae/inference/v1/model";
import { defineJob, type Job } from "@mistral-sae/jobs";
import { requireId, unimplemented } from "@mistral-sae/rpc";
import { modelIdOf } from "../config.ts";
import { fetchModel, findModel, type ModelPlace } from "./model-place.ts";
import type { ModelRegistry } from "./model-registry.ts";
import { readyModel } from "./model-message.ts";

export const LOAD_MODEL = "load-model";

/** Id and place of a request. @throws INVALID_ARGUMENT, or UNIMPLEMENTED for another precision than F32. */
export async function checkLoadModel(request: LoadModelRequest): Promise<{ readonly id: string; readonly place: ModelPlace }> {
  if (request.precision !== Precision.UNSPECIFIED && request.precision !== Precision.F32) {
    throw unimplemented(`precision: got ${precisionName(request.precision)}, only F32 is offered yet`);
  }
  const place = await findModel(request.uri);
  const named = "folder" in place ? place.folder : place.hub.id;
  return { id: request.modelId === "" ? modelIdOf(named) : requireId("model_id", request.modelId), place };
}

function precisionName(precision: Precision): string {
  return Object.entries(Precision).find(([, value]) => value === precision)?.[0] ?? String(precision);
}

/** LoadModel as a job; a model that is loaded already is returned as it is. */
export function loadModelJob(models: ModelRegistry): Job {
  return defineJob({
    kind: LOAD_MODEL,
    input: LoadModelRequestSchema,
    output: ModelSchema,
    plan: async () => [0],
    run: async () => null,
    reduce: async (request, _results, ctx) => {
      const { id, place } = await checkLoadModel(request);
      const folder = await fetchModel(place, ctx);
      ctx.progress({ stage: "load", doneUnits: 0, totalUnits: 1, unit: "model" });
      return readyModel(await models.load(id, folder, { remember: true, signal: ctx.signal }));
    },
  });
}

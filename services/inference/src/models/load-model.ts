import { type LoadModelRequest, LoadModelRequestSchema } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import { ModelSchema, Precision } from "@mistral-sae/contracts/mistral_sae/inference/v1/model";
import { defineJob, type Job } from "@mistral-sae/jobs";
import type { EnginePrecision } from "@mistral-sae/model";
import { requireId, unimplemented } from "@mistral-sae/rpc";
import { modelIdOf } from "../config.ts";
import { fetchModel, findModel, type ModelPlace } from "./model-place.ts";
import type { ModelRegistry } from "./model-registry.ts";
import { readyModel } from "./model-message.ts";
import { enginePrecision, enginePrecisions } from "./precision.ts";

export const LOAD_MODEL = "load-model";

/** What a request asks for. */
export interface CheckedLoadModel {
  readonly id: string;
  readonly place: ModelPlace;
  /** Undefined: that of the folder. */
  readonly precision: EnginePrecision | undefined;
}

/** Checks a request. @throws INVALID_ARGUMENT, or UNIMPLEMENTED for a precision that is not offered. */
export async function checkLoadModel(request: LoadModelRequest): Promise<CheckedLoadModel> {
  const precision = enginePrecision(request.precision);
  if (request.precision !== Precision.UNSPECIFIED && precision === undefined) {
    throw unimplemented(`precision: got ${precisionName(request.precision)}, wanted ${enginePrecisions.join(", ").toUpperCase()}`);
  }
  const place = await findModel(request.uri);
  const named = "folder" in place ? place.folder : place.hub.id;
  return { id: request.modelId === "" ? modelIdOf(named) : requireId("model_id", request.modelId), place, precision };
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
      const { id, place, precision } = await checkLoadModel(request);
      const folder = await fetchModel(place, ctx);
      ctx.progress({ stage: "load", doneUnits: 0, totalUnits: 1, unit: "model" });
      return readyModel(await models.load(id, folder, {
        remember: true,
        precision,
        signal: ctx.signal,
        onQuantise: (doneUnits, totalUnits) => ctx.progress({ stage: "quantise", doneUnits, totalUnits, unit: "bytes" }),
      }));
    },
  });
}

import { stat } from "node:fs/promises";
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { type LoadModelRequest, LoadModelRequestSchema } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import { ModelSchema, Precision } from "@mistral-sae/contracts/mistral_sae/inference/v1/model";
import { defineJob, type Job } from "@mistral-sae/jobs";
import { invalidArgument, requireId, unimplemented } from "@mistral-sae/rpc";
import { modelIdOf } from "../config.ts";
import type { ModelRegistry } from "./model-registry.ts";
import { readyModel } from "./model-message.ts";

export const LOAD_MODEL = "load-model";

/** Id and folder of a request. @throws INVALID_ARGUMENT, or UNIMPLEMENTED for another precision than F32. */
export async function checkLoadModel(request: LoadModelRequest): Promise<{ readonly id: string; readonly folder: string }> {
  if (request.uri === "") throw invalidArgument("uri", "is empty, wanted the folder of a model");
  if (request.precision !== Precision.UNSPECIFIED && request.precision !== Precision.F32) {
    throw unimplemented(`precision: got ${precisionName(request.precision)}, only F32 is offered yet`);
  }
  const folder = request.uri.startsWith("file://") ? fileURLToPath(request.uri) : resolve(request.uri);
  const found = await stat(folder).catch(() => undefined);
  if (found?.isDirectory() !== true) throw invalidArgument("uri", `got ${JSON.stringify(request.uri)}, wanted a folder with config.json and *.safetensors`);
  return { id: request.modelId === "" ? modelIdOf(folder) : requireId("model_id", request.modelId), folder };
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
      const { id, folder } = await checkLoadModel(request);
      ctx.progress({ stage: "load", doneUnits: 0, totalUnits: 1, unit: "model" });
      return readyModel(await models.load(id, folder, { remember: true, signal: ctx.signal }));
    },
  });
}

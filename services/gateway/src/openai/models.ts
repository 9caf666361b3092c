import { type Model, ModelState } from "@mistral-sae/contracts/mistral_sae/inference/v1/model";
import type { Exchange } from "./clients.ts";
import { ApiError } from "./errors.ts";

/** Since when this process offers models; the services keep no such time. */
const started = Math.floor(Date.now() / 1000);

/** The models that can be used now. */
export async function listModels(exchange: Exchange) {
  return { object: "list", data: (await readyModels(exchange)).map(modelObject) };
}

/** One of them. @throws ApiError 404. */
export async function getModel(id: string, exchange: Exchange) {
  const model = (await readyModels(exchange)).find(({ name }) => name === id || name === `models/${id}`);
  if (model === undefined) throw new ApiError(`the model ${JSON.stringify(id)} does not exist or is not loaded`, { status: 404, param: "model", code: "model_not_found" });
  return modelObject(model);
}

async function readyModels({ backends, options }: Exchange): Promise<Model[]> {
  const models: Model[] = [];
  try {
    for (let pageToken = ""; ; ) {
      const page = await backends.inference.listModels({ pageSize: 1000, pageToken }, options);
      models.push(...page.models.filter(({ state }) => state === ModelState.READY));
      pageToken = page.nextPageToken;
      if (pageToken === "") return models;
    }
  } catch (error) {
    throw backends.explain(error, "inference");
  }
}

function modelObject({ name, nCtx }: Model) {
  return { id: name.slice("models/".length), object: "model", created: started, owned_by: "mistral-sae", context_window: nCtx };
}

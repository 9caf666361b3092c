import type { GRPCInferenceService, ModelMetadataResponseSchema } from "@mistral-sae/contracts/inference/grpc_predict_v2";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { ModelState } from "@mistral-sae/contracts/mistral_sae/inference/v1/model";
import { Code, type Handlers, RpcError } from "@mistral-sae/rpc";
import manifest from "../../package.json" with { type: "json" };
import type { Parts } from "../handlers/parts.ts";
import { inferLanguageModel } from "./language-model.ts";
import { languageInputs, languageOutputs, type TensorSpec } from "./language-metadata.ts";
import { parseServedName, VERSION } from "./names.ts";
import { writeOutputs } from "./outputs.ts";
import { inferSae, saeTensors } from "./sae-model.ts";

type Metadata = Exclude<MessageInitShape<typeof ModelMetadataResponseSchema>, { $typeName: string }>;

/**
 * The Open Inference Protocol, version 2, over the models and SAEs that are loaded here. A model is `{model}`; an SAE
 * is two more, `{model}.{sae}.encode` and `{model}.{sae}.decode`.
 */
export function openInferenceHandlers(parts: Parts): Handlers<typeof GRPCInferenceService> {
  const { models, saes } = parts;
  return {
    serverLive: async () => ({ live: true }),

    serverReady: async () => {
      const states = models.list().map(({ state }) => state);
      return { ready: states.includes(ModelState.READY) && !states.includes(ModelState.LOADING) };
    },

    modelReady: async ({ name, version }) => {
      try {
        const served = parseServedName(name, version);
        if ("model" in served) models.use(served.model);
        else saes.useWithModel("name", served.sae);
        return { ready: true };
      } catch (error) {
        if (error instanceof RpcError && NOT_READY.has(error.code)) return { ready: false };
        throw error;
      }
    },

    serverMetadata: async () => ({ name: "mistral-sae", version: manifest.version, extensions: [] }),

    modelMetadata: async ({ name, version }) => {
      const served = parseServedName(name, version);
      if ("model" in served) {
        const { info } = models.use(served.model, "name").engine;
        return metadata(name, languageInputs(), languageOutputs(info));
      }
      const { inputs, outputs } = saeTensors(saes.useWithModel("name", served.sae).entry, served.side);
      return metadata(name, inputs, outputs);
    },

    modelInfer: async (request, context) => {
      const { modelName, modelVersion, id } = request;
      const served = parseServedName(modelName, modelVersion);
      const outputs =
        "model" in served
          ? await inferLanguageModel(request, models.use(served.model, "model_name"), parts, context)
          : await inferSae(request, saes.useWithModel("model_name", served.sae).entry, served.side, parts, context);
      return { modelName, modelVersion: VERSION, id, ...writeOutputs(outputs, request.rawInputContents.length > 0) };
    },
  };
}

/** A model that is unknown, not loaded or being loaded is not ready; anything else is an error. */
const NOT_READY: ReadonlySet<Code> = new Set([Code.NotFound, Code.FailedPrecondition, Code.Unavailable]);

function metadata(name: string, inputs: readonly TensorSpec[], outputs: readonly TensorSpec[]): Metadata {
  const message = ({ name, datatype, shape }: TensorSpec) => ({ name, datatype, shape: shape.map(BigInt) });
  return { name, versions: [VERSION], platform: "onnxruntime_safetensors", inputs: inputs.map(message), outputs: outputs.map(message) };
}

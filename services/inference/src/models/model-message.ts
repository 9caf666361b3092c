import { create } from "@bufbuild/protobuf";
import { type Model, ModelSchema, ModelState } from "@mistral-sae/contracts/mistral_sae/inference/v1/model";
import type { LoadedModel } from "./loaded-model.ts";
import { precisionNumber } from "./precision.ts";

/** A model that is not loaded: what is known of it beforehand. */
export function coldModel(name: string, uri: string, state: ModelState, detail = ""): Model {
  return create(ModelSchema, { name, uri, state, stateDetail: detail });
}

/** A loaded model. */
export function readyModel({ name, uri, engine, tokenizer }: LoadedModel): Model {
  const { info } = engine;
  const bos = tokenizer.bosId ?? info.bosTokenId;
  return create(ModelSchema, {
    name,
    uri,
    architecture: info.architecture,
    nLayers: info.nLayers,
    dModel: info.dModel,
    nHeads: info.nHeads,
    nKeyValueHeads: info.nKeyValueHeads,
    dHead: info.dHead,
    dMlp: info.dMlp,
    dVocab: info.dVocab,
    nCtx: info.nCtx,
    precision: precisionNumber(info.precision),
    state: ModelState.READY,
    ...(bos === undefined ? {} : { bosTokenId: bos }),
    eosTokenIds: [...info.eosTokenIds],
    digest: info.digest,
    hasChatTemplate: tokenizer.hasChatTemplate,
    refusedInputs: [...info.refusedInputs],
  });
}

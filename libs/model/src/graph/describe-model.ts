import { createHash } from "node:crypto";
import { readdir } from "node:fs/promises";
import { join, relative } from "node:path";
import { InputError } from "@mistral-sae/tensor";
import { env } from "onnxruntime-node";
import type { EngineInfo } from "../engine.ts";
import { fileDigest } from "./file-digest.ts";
import type { ModelSource } from "./model-source.ts";
import { hookTable } from "../hooks/hook-name.ts";

/** Files beside the weights that decide what the model does. */
const described = /^(config|generation_config|tokenizer|tokenizer_config|special_tokens_map|chat_template|tekken|params)\.json$|^tokenizer\.model(\.v\d+\w*)?$|^chat_template\.jinja$/;

/** What an engine says of a model. Reads files of it for the digest, large ones only when they are new; see {@link fileDigest}. */
export async function describeModel(source: ModelSource): Promise<Omit<EngineInfo, "threads" | "maxBatchRows" | "cacheBytes" | "decodeSteps">> {
  const { config, weights, modelDir, nCtx } = source;
  return {
    modelDir,
    architecture: config.architecture,
    refusedInputs: config.hasVision ? ["image"] : [],
    nLayers: config.nLayers,
    dModel: config.dModel,
    nHeads: config.nHeads,
    nKeyValueHeads: config.nKeyValueHeads,
    dHead: config.dHead,
    dMlp: config.dMlp,
    dVocab: config.dVocab,
    nCtx,
    precision: weights.precision ?? "f32",
    storedDtypes: weights.storedDtypes,
    parameters: weights.parameters,
    bosTokenId: config.bosTokenId,
    eosTokenIds: config.eosTokenIds,
    digest: await modelDigest(source),
    hooks: hookTable(config),
    backend: `onnxruntime ${env.versions.node ?? env.versions.common} ${source.provider}`,
  };
}

/**
 * SHA-256 over one line `{file sha256}  {name}` a file, by name: what `sha256sum` prints. Throws InputError when a file
 * is not the one that was written.
 */
async function modelDigest({ modelDir, weights }: ModelSource): Promise<string> {
  const paths = new Set([...weights.files, ...(await readdir(modelDir)).filter((name) => described.test(name)).map((name) => join(modelDir, name))]);
  const digest = createHash("sha256");
  for (const path of [...paths].sort()) {
    const sha256 = await fileDigest(path);
    const wanted = weights.digests.get(path) ?? sha256;
    if (sha256 !== wanted) throw new InputError("the file is damaged: its digest is not the one in config.json; remove the folder and quantise the model again", { file: path, field: "quantization_config.weights_digest", got: sha256, wanted });
    digest.update(`${sha256}  ${relative(modelDir, path)}\n`);
  }
  return digest.digest("hex");
}

import { create } from "@bufbuild/protobuf";
import { type CreateSaeRequest, CreateSaeRequestSchema, type Sae, SaeSchema, type SaeValidation, ValidationPolicy } from "@mistral-sae/contracts/mistral_sae/sae/v1/sae";
import { defineJob, type Job } from "@mistral-sae/jobs";
import type { EngineInfo } from "@mistral-sae/model";
import { alreadyExists, failedPrecondition, invalidArgument, requireId } from "@mistral-sae/rpc";
import { readableHook } from "../interventions/hooks.ts";
import type { LoadedModel } from "../models/loaded-model.ts";
import type { ModelRegistry } from "../models/model-registry.ts";
import { readTokens } from "../wire/prompt.ts";
import type { ProbeSequence } from "./measure-hook.ts";
import { readSaeFolder, type SaeFolder } from "./sae-folder.ts";
import type { SaeRegistry } from "./sae-registry.ts";
import { validateSae } from "./validate-sae.ts";

export const CREATE_SAE = "create-sae";

/** What creating needs. */
export interface CreateSaeParts {
  readonly models: ModelRegistry;
  readonly saes: SaeRegistry;
}

/** What can be refused before any work: names, an SAE that is there already, tokens. */
export function checkCreateSae(request: CreateSaeRequest, { models, saes }: CreateSaeParts): void {
  requireId("sae_id", request.saeId);
  const model = models.use(requireParent(request.parent), "parent");
  if (request.uri === "") throw invalidArgument("uri", "is empty, wanted the folder of an SAE");
  if (request.hookName !== undefined) readableHook("hook_name", request.hookName, model.engine.info);
  const name = saeName(request);
  if (saes.operationOf(name) !== undefined) throw alreadyExists(name);
  probesOf(request, model);
}

function requireParent(parent: string): string {
  if (parent === "") throw invalidArgument("parent", "is empty, wanted models/{model}");
  return parent;
}

function saeName({ parent, saeId }: CreateSaeRequest): string {
  return `${parent}/saes/${saeId}`;
}

function probesOf({ validationSequences }: CreateSaeRequest, model: LoadedModel): ProbeSequence[] | undefined {
  if (validationSequences.length === 0) return undefined;
  return validationSequences.map((sequence, i) => {
    const { ids, isSpecial } = readTokens(`validation_sequences[${i}]`, sequence, model.reader);
    return { tokens: ids, isSpecial };
  });
}

/** CreateSae as a job: read, load, validate, register. Running it again after a crash ends in the same entry. */
export function createSaeJob(parts: CreateSaeParts): Job {
  return defineJob({
    kind: CREATE_SAE,
    input: CreateSaeRequestSchema,
    output: SaeSchema,
    plan: async () => [0],
    run: async () => null,
    reduce: async (request, _results, ctx) => {
      const name = saeName(request);
      const before = parts.saes.operationOf(name);
      if (before === ctx.name) return parts.saes.get(name);
      if (before !== undefined) throw alreadyExists(name);
      const model = parts.models.use(request.parent, "parent");
      ctx.progress({ stage: "read", doneUnits: 0, totalUnits: 1, unit: "SAE" });
      const folder = await readSaeFolder(request.uri, ctx.signal);
      for (const warning of folder.warnings) ctx.warn(warning);
      const hookName = requireFit(request, folder, model.engine.info);
      // What a crashed attempt may have left under this name is replaced.
      await model.engine.unloadSae(name).catch(() => undefined);
      await model.engine.loadSae(name, folder.weights);
      try {
        ctx.progress({ stage: "validate", doneUnits: 0, totalUnits: 1, unit: "SAE" });
        const validation = await judge(request, name, hookName, model, ctx.signal, (text) => ctx.warn(text));
        return parts.saes.add(saeMessage(name, request, folder, hookName, validation), ctx.name);
      } catch (error) {
        await model.engine.unloadSae(name).catch(() => undefined);
        throw error;
      }
    },
  });
}

/** The hook the SAE will be used at. @throws when file and model do not fit. */
function requireFit(request: CreateSaeRequest, folder: SaeFolder, info: EngineInfo): string {
  const hookName = request.hookName ?? folder.hookName;
  if (hookName === undefined) {
    throw invalidArgument("hook_name", `is not set and ${request.uri} names no hook; set it, as blocks.L.hook_resid_pre`);
  }
  const hook = readableHook("hook_name", hookName, info);
  const { dIn } = folder.weights;
  if (hook.width !== dIn) {
    throw failedPrecondition("SAE_MISMATCH", `${request.uri} reads rows of ${dIn}, but ${hookName} of ${request.parent} has ${hook.width}`, { d_in: String(dIn), width: String(hook.width) });
  }
  return hookName;
}

async function judge(
  request: CreateSaeRequest,
  name: string,
  hookName: string,
  model: LoadedModel,
  signal: AbortSignal,
  warn: (text: string) => void,
): Promise<SaeValidation | undefined> {
  if (request.validate === ValidationPolicy.SKIP) return undefined;
  const validation = await validateSae(model, name, hookName, probesOf(request, model), signal);
  if (validation.accepted) return validation;
  if (request.validate !== ValidationPolicy.WARN) {
    throw failedPrecondition("SAE_VALIDATION_FAILED", `${request.uri}: ${validation.verdict}; give hook_name the right hook, or set validate to WARN`, {
      hook_name: hookName,
      fvu: String(validation.fvu),
    });
  }
  warn(validation.verdict);
  return validation;
}

function saeMessage(name: string, request: CreateSaeRequest, folder: SaeFolder, hookName: string, validation: SaeValidation | undefined): Sae {
  const { weights } = folder;
  return create(SaeSchema, {
    name,
    uri: request.uri,
    hookName,
    fileHookName: folder.hookName ?? "",
    hookOverrideReason: request.hookOverrideReason,
    dIn: weights.dIn,
    dSae: weights.dSae,
    architecture: folder.architecture,
    ...(weights.k === undefined ? {} : { k: weights.k }),
    normalizeActivations: weights.normalizeActivations,
    applyBDecToInput: weights.applyBDecToInput,
    dtype: folder.dtype,
    ...(folder.contextSize === undefined ? {} : { contextSize: folder.contextSize }),
    datasetPath: folder.datasetPath,
    wDecNormMean: folder.wDecNormMean,
    digest: folder.digest,
    cfgJson: folder.cfgJson,
    ...(validation === undefined ? {} : { validation, residNormMean: validation.residNormMean }),
  });
}

import { create } from "@bufbuild/protobuf";
import { type GenerateRequest, type InferenceService, type Variant, VariantSchema } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import { type Handlers, invalidArgument } from "@mistral-sae/rpc";
import { readCaptures } from "../generation/capture.ts";
import { Generation, type GenerateEvent } from "../generation/generation.ts";
import { estimateLoad, requireMemory, tenantOf } from "../generation/load.ts";
import { readSampling } from "../generation/sampling.ts";
import { readTrace } from "../generation/trace.ts";
import { VariantRun } from "../generation/variant-run.ts";
import { placeInterventions, requireRows, withDefaults } from "../interventions/placed.ts";
import { type ResolveContext, resolveInterventions } from "../interventions/resolve.ts";
import type { LoadedModel } from "../models/loaded-model.ts";
import type { SaeRegistry } from "../saes/sae-registry.ts";
import { type Prompt, readPrompt, tokenSequence } from "../wire/prompt.ts";
import type { Parts } from "./parts.ts";

/** What resolving interventions of a request to this model needs. */
export function resolveContext(model: LoadedModel, saes: SaeRegistry): ResolveContext {
  return { info: model.engine.info, sae: (field, name) => saes.use(field, name, model) };
}

/** Generate: admission, then the prompt, then the batch. */
export function generateHandler({ models, saes }: Parts): Handlers<typeof InferenceService>["generate"] {
  return async function* generate(request, context) {
    const { signal } = context;
    const model = models.use(request.model);
    const variants = request.variants.length === 0 ? [create(VariantSchema, { variantId: "baseline" })] : requireVariants(request.variants, model);
    const load = estimateLoad(request, tenantOf(context), variants.length, model.defaults, model.tokenizer.vocabulary.longest);
    requireMemory(model.engine, load.rows, load.least);
    const ticket = model.scheduler.admit(load);
    // The reader may go away without a signal: its generation must not go on.
    const left = new AbortController();
    try {
      const { started, generation } = await plan(request, variants, model, saes, AbortSignal.any([signal, left.signal]));
      ticket.use(generation);
      yield started;
      yield* generation.events;
    } finally {
      ticket.release();
      left.abort();
    }
  };
}

/** @throws INVALID_ARGUMENT when there are too many or their names are empty or the same. */
export function requireVariants(variants: readonly Variant[], { engine }: LoadedModel): readonly Variant[] {
  const most = engine.info.maxBatchRows;
  if (variants.length > most) throw invalidArgument("variants", `got ${variants.length}, wanted at most ${most}`);
  const seen = new Set<string>();
  for (const [i, { variantId }] of variants.entries()) {
    if (variantId === "") throw invalidArgument(`variants[${i}].variant_id`, "is empty, wanted a name");
    if (seen.has(variantId)) throw invalidArgument(`variants[${i}].variant_id`, `got ${JSON.stringify(variantId)} twice, wanted names that differ`);
    seen.add(variantId);
  }
  return variants;
}

async function plan(
  request: GenerateRequest,
  variants: readonly Variant[],
  model: LoadedModel,
  saes: SaeRegistry,
  signal: AbortSignal,
): Promise<{ started: GenerateEvent; generation: Generation }> {
  const { engine, tokenizer, specialIds } = model;
  const { info } = engine;
  const context = resolveContext(model, saes);
  const resolved = variants.map(({ interventions }, i) => resolveInterventions(`variants[${i}].interventions`, interventions, context));
  const trace = readTrace(request.trace, context);
  const prompt = await readPrompt("prompt", request.prompt, model.reader, signal);
  const params = readSampling(request.sampling, model.defaults, prompt.ids.length, info);
  const placed = resolved.map((interventions) => {
    const list = placeInterventions(interventions, prompt, { specialIds, maxTokens: params.maxTokens });
    requireRows([list]);
    return list;
  });
  const runs = variants.map(({ variantId }, i) => new VariantRun(variantId, placed[i] ?? [], params, info.eosTokenIds, tokenizer));
  const generation = new Generation({
    prompt,
    params,
    variants: runs,
    captures: readCaptures(request.captures, prompt, info, params.maxTokens),
    trace,
    withKl: request.withKl,
    tokenizer,
    signal,
  });
  const started: GenerateEvent = {
    event: {
      case: "started",
      value: {
        prompt: tokenSequence(prompt, tokenizer),
        resolvedVariants: variants.map(({ variantId }, i) => ({ variantId, interventions: (resolved[i] ?? []).map(withDefaults) })),
        seed: params.sampling.seed,
        warnings: promptWarnings(request, prompt, model),
      },
    },
  };
  return { started, generation };
}

/** What is allowed but seldom meant. */
function promptWarnings({ prompt: input, withKl, variants }: GenerateRequest, { ids }: Prompt, { tokenizer }: LoadedModel): string[] {
  const warnings: string[] = [];
  const { bosId } = tokenizer;
  if (bosId !== undefined && ids[0] === bosId && ids[1] === bosId) warnings.push("the prompt begins with BOS twice");
  if (bosId !== undefined && tokenizer.addsBos && ids[0] !== bosId && input?.prependBos !== false) {
    warnings.push("the prompt does not begin with BOS, which the model was trained to see");
  }
  if (withKl && variants.length < 2) warnings.push("with_kl compares with the first variant, and there is no other");
  return warnings;
}

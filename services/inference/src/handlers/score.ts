import type { InferenceService, ScoreTokensRequest, Variant } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import { type Handlers, invalidArgument } from "@mistral-sae/rpc";
import { proveSteering } from "../generation/proof.ts";
import { placeInterventions, requireRows } from "../interventions/placed.ts";
import { resolveInterventions } from "../interventions/resolve.ts";
import { ahead } from "../wire/ahead.ts";
import type { LoadedModel } from "../models/loaded-model.ts";
import { readTokens } from "../wire/prompt.ts";
import { floatTensor } from "../wire/tensor.ts";
import { requireVariants, resolveContext } from "./generate.ts";
import type { Parts } from "./parts.ts";

/** ScoreTokens: sequences are answered in the order in which they ran. */
export function scoreHandler({ config, models, saes }: Parts): Handlers<typeof InferenceService>["scoreTokens"] {
  return async function* scoreTokens(request, { signal }) {
    const model = models.use(request.model);
    const leave = model.gate.enter();
    try {
      const { sequences, withKl } = request;
      if (sequences.length === 0) throw invalidArgument("sequences", "got none, wanted at least 1");
      if (sequences.length > config.maxPrompts) throw invalidArgument("sequences", `got ${sequences.length}, wanted at most ${config.maxPrompts}`);
      const context = resolveContext(model, saes);
      const variants = variantsOf(request, model).map(({ variantId, interventions, field }) => ({ variantId, resolved: resolveInterventions(field, interventions, context) }));
      const prompts = sequences.map((sequence, i) => {
        const tokens = readTokens(`sequences[${i}]`, sequence, model.reader);
        if (tokens.ids.length < 2) throw invalidArgument(`sequences[${i}].token_ids`, "got 1 token, wanted at least 2: the first has nothing before it");
        return { ...tokens, spans: undefined };
      });
      const placed = variants.map(({ resolved }) => {
        const lists = prompts.map((prompt) => placeInterventions(resolved, prompt, { specialIds: model.specialIds, maxTokens: 0 }));
        if (resolved.length > 0) requireRows(lists);
        return lists;
      });
      // Variants of a sequence lie side by side, so that they share a batch and with it the run of the unedited model.
      const runs = prompts.flatMap(({ ids }, sequence) => variants.map(({ variantId }, variant) => ({ sequence, variantId, ids, edits: placed[variant]?.[sequence] ?? [] })));
      const batches = model.engine.score(
        runs.map(({ ids, edits }) => ({ tokens: ids, edits: edits.map(({ edit }) => edit) })),
        { withKl, signal },
      );
      for await (const batch of ahead(batches, 1)) {
        for (const [i, index] of batch.sequences.entries()) {
          const { sequence = 0, variantId = "", edits = [] } = runs[index] ?? {};
          proveSteering(`sequences[${sequence}]`, edits, edits.map(() => 0), batch.proofs[i] ?? []);
          const [from, to] = [batch.offsets[i] ?? 0, batch.offsets[i + 1] ?? 0];
          yield {
            sequenceIndex: sequence,
            variantId,
            logprobs: floatTensor(batch.logprobs.subarray(from, to), [to - from]),
            ...(withKl
              ? { uneditedLogprobs: floatTensor(batch.uneditedLogprobs.subarray(from, to), [to - from]), kl: floatTensor(batch.kl.subarray(from, to), [to - from]) }
              : {}),
          };
        }
      }
    } catch (error) {
      throw model.explain(error);
    } finally {
      leave();
    }
  };
}

interface ScoredVariant extends Pick<Variant, "variantId" | "interventions"> {
  /** Where the request names its interventions. */
  readonly field: string;
}

/** The lots of edits to score under; without variants there is one, without a name. */
function variantsOf(request: ScoreTokensRequest, model: LoadedModel): readonly ScoredVariant[] {
  const { variants, interventions } = request;
  if (variants.length === 0) return [{ variantId: "", interventions, field: "interventions" }];
  if (interventions.length > 0) throw invalidArgument("interventions", "got some beside variants, wanted the one or the other");
  return requireVariants(variants, model).map((variant, i) => ({ ...variant, field: `variants[${i}].interventions` }));
}

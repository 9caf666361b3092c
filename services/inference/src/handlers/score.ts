import type { InferenceService } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import { type Handlers, invalidArgument } from "@mistral-sae/rpc";
import { proveSteering } from "../generation/proof.ts";
import { placeInterventions, requireRows } from "../interventions/placed.ts";
import { resolveInterventions } from "../interventions/resolve.ts";
import { ahead } from "../wire/ahead.ts";
import { readTokens } from "../wire/prompt.ts";
import { floatTensor } from "../wire/tensor.ts";
import { resolveContext } from "./generate.ts";
import type { Parts } from "./parts.ts";

/** ScoreTokens: sequences are answered in the order in which they ran. */
export function scoreHandler({ config, models, saes }: Parts): Handlers<typeof InferenceService>["scoreTokens"] {
  return async function* scoreTokens(request, { signal }) {
    const model = models.use(request.model);
    const leave = model.gate.enter();
    try {
      const { sequences, interventions, withKl } = request;
      if (sequences.length === 0) throw invalidArgument("sequences", "got none, wanted at least 1");
      if (sequences.length > config.maxPrompts) throw invalidArgument("sequences", `got ${sequences.length}, wanted at most ${config.maxPrompts}`);
      const resolved = resolveInterventions("interventions", interventions, resolveContext(model, saes));
      const prompts = sequences.map((sequence, i) => {
        const tokens = readTokens(`sequences[${i}]`, sequence, model.reader);
        if (tokens.ids.length < 2) throw invalidArgument(`sequences[${i}].token_ids`, "got 1 token, wanted at least 2: the first has nothing before it");
        return { ...tokens, spans: undefined };
      });
      const placed = prompts.map((prompt) => placeInterventions(resolved, prompt, { specialIds: model.specialIds, maxTokens: 0 }));
      if (resolved.length > 0) requireRows(placed);
      const batches = model.engine.score(
        prompts.map(({ ids }, i) => ({ tokens: ids, edits: (placed[i] ?? []).map(({ edit }) => edit) })),
        { withKl, signal },
      );
      for await (const batch of ahead(batches, 1)) {
        for (const [i, index] of batch.sequences.entries()) {
          const edits = placed[index] ?? [];
          proveSteering(`sequences[${index}]`, edits, edits.map(() => 0), batch.proofs[i] ?? []);
          const [from, to] = [batch.offsets[i] ?? 0, batch.offsets[i + 1] ?? 0];
          yield {
            sequenceIndex: index,
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

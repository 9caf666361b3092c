import type { MessageInitShape } from "@bufbuild/protobuf";
import type { Variant, VariantSchema } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import type { ResolvedQuery, SteerRequest, SteeringService } from "@mistral-sae/contracts/mistral_sae/steering/v1/steering";
import { type Handlers, invalidArgument } from "@mistral-sae/rpc";
import { proveSteering } from "../generate/sampled-texts.ts";
import { resolveInterventions } from "../resolve/interventions.ts";
import { resolveQuery } from "../resolve/queries.ts";
import type { Parts } from "./parts.ts";

/** variant_id of the texts without edits. */
export const baselineId = "baseline";

/** Steer: presets, units and words are resolved here, the texts stream through from one Generate. */
export function steerHandler({ peers, store }: Parts): Handlers<typeof SteeringService>["steer"] {
  return async function* steer(request, { signal }) {
    checkVariants(request);
    const variants: MessageInitShape<typeof VariantSchema>[] = request.withoutBaseline ? [] : [{ variantId: baselineId }];
    const resolvedQueries: ResolvedQuery[] = [];
    for (const [i, { variantId, interventions, queries }] of request.variants.entries()) {
      const at = `variants[${i}]`;
      const found = [];
      for (const [j, query] of queries.entries()) {
        const { intervention, resolved } = await resolveQuery(query, variantId, `${at}.queries[${j}]`, `q${j}`, peers, store, signal);
        found.push(intervention);
        resolvedQueries.push(resolved);
      }
      const given = await resolveInterventions(interventions, `${at}.interventions`, peers, store, signal);
      const byWords = await resolveInterventions(found, `${at}.queries`, peers, store, signal);
      variants.push({ variantId, interventions: [...byWords, ...given] });
    }
    const { model, prompt, sampling, trace, withKl } = request;
    const events = peers.inference.generate(
      { model, variants, withKl, ...(prompt === undefined ? {} : { prompt }), ...(sampling === undefined ? {} : { sampling }), ...(trace === undefined ? {} : { trace }) },
      { signal },
    );
    let first = true;
    for await (const event of events) {
      if (event.event.case === "finished") {
        const { variantId, steeringAppliedSteps, steeringExpectedSteps } = event.event.value;
        proveSteering(variantId, steeringAppliedSteps, steeringExpectedSteps);
      }
      yield { event, resolvedQueries: first ? resolvedQueries : [] };
      first = false;
    }
  };
}

function checkVariants({ variants, withoutBaseline }: SteerRequest): void {
  if (variants.length === 0) throw invalidArgument("variants", "got none, wanted at least one");
  const seen = new Set<Variant["variantId"]>(withoutBaseline ? [] : [baselineId]);
  for (const [i, { variantId, interventions, queries }] of variants.entries()) {
    if (variantId === "") throw invalidArgument(`variants[${i}].variant_id`, "got nothing, wanted a name");
    if (seen.has(variantId)) throw invalidArgument(`variants[${i}].variant_id`, `got "${variantId}" twice, wanted names that differ (the baseline is "${baselineId}")`);
    seen.add(variantId);
    if (interventions.length + queries.length === 0) {
      throw invalidArgument(`variants[${i}]`, "got no interventions and no queries, wanted at least one: the baseline comes by itself");
    }
  }
}

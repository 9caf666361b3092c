import { create } from "@bufbuild/protobuf";
import { type SteeringService, SuggestSteeringRequestSchema } from "@mistral-sae/contracts/mistral_sae/steering/v1/steering";
import { type Handlers, invalidArgument } from "@mistral-sae/rpc";
import { presetHandlers } from "../presets/preset-handlers.ts";
import { findFeatures } from "../resolve/queries.ts";
import { chooseSae } from "../resolve/sae-choice.ts";
import { suggestKind } from "../suggest/suggest-job.ts";
import type { Parts } from "./parts.ts";
import { steerHandler } from "./steer.ts";
import { sweepHandler } from "./sweep.ts";
import { validateHandler } from "./validate.ts";

const defaultResults = 10;
const most = { results: 1000, samples: 256, features: 1000 } as const;

/** SteeringService. */
export function steeringHandlers(parts: Parts): Handlers<typeof SteeringService> {
  const { peers, store, engine } = parts;
  return {
    ...presetHandlers(store),
    steer: steerHandler(parts),
    sweepSteering: sweepHandler(parts),
    validateSteering: validateHandler(parts),

    findFeatures: async ({ sae, query, numResults }, { signal }) => {
      if (numResults > most.results) throw invalidArgument("num_results", `got ${numResults}, wanted at most ${most.results}`);
      const chosen = await chooseSae(peers, sae, "sae", signal);
      return { features: await findFeatures(peers, chosen, query, numResults || defaultResults, signal) };
    },

    suggestSteering: async (request, { signal }) => {
      if (request.numSamples > most.samples) throw invalidArgument("num_samples", `got ${request.numSamples}, wanted at most ${most.samples}`);
      if (request.featureIndices.length > most.features) {
        throw invalidArgument("feature_indices", `got ${request.featureIndices.length}, wanted at most ${most.features}`);
      }
      // The only READY SAE of today is what is meant, whatever is loaded when the operation runs.
      const sae = await chooseSae(peers, request.sae, "sae", signal);
      const input = create(SuggestSteeringRequestSchema, { ...request, sae });
      return { operation: engine.start(suggestKind, input, { requestId: request.requestId }) };
    },
  };
}

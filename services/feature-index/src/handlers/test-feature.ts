import type { FeatureIndexService } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import { type Handlers, invalidArgument, parseName } from "@mistral-sae/rpc";
import type { Parts } from "../parts.ts";
import { readySae } from "../peers/peers.ts";
import { requireFeature } from "../serving/resolve-index.ts";
import { testFeature } from "../serving/test-feature.ts";

const MOST_PROMPTS = 64;

/** Needs no index: a feature can be tried as soon as its SAE is loaded. */
export function testFeatureHandlers({ catalogue, peers }: Pick<Parts, "catalogue" | "peers">): Pick<Handlers<typeof FeatureIndexService>, "testFeature"> {
  return {
    testFeature: async ({ name, prompts }, { signal }) => {
      const ids = parseName("models/{model}/saes/{sae}/features/{feature_index}", name, "name");
      if (prompts.length === 0 || prompts.length > MOST_PROMPTS) throw invalidArgument("prompts", `got ${prompts.length}, wanted 1 to ${MOST_PROMPTS}`);
      const model = `models/${ids.model}`;
      const sae = await readySae(peers, `${model}/saes/${ids.sae}`, signal);
      const feature = requireFeature("name", ids.feature_index, { sae });
      const index = catalogue.indexes().find((record) => record.state === "ready" && record.sae.name === sae.name);
      return { tests: await testFeature(peers, model, sae.name, feature, prompts, index?.includeSpecialTokens ?? false, signal) };
    },
  };
}

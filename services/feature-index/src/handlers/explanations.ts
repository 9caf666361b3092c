import type { FeatureIndexService } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import { type Handlers, invalidArgument, parseName } from "@mistral-sae/rpc";
import type { SaeRecord } from "../catalogue/records.ts";
import type { Parts } from "../parts.ts";
import { type Explanation, writeExplanations } from "../serving/explanations.ts";
import { requireFeature } from "../serving/resolve-index.ts";

const MOST_ENTRIES = 1_000;
const LONGEST = 8_192;

export function explanationHandlers({ catalogue, clickhouse, peers }: Parts): Pick<Handlers<typeof FeatureIndexService>, "putExplanations"> {
  /** The SAE's record; one that was never indexed is known from now on. */
  const saeOf = async (name: string, signal: AbortSignal): Promise<SaeRecord> => {
    const known = catalogue.newestSae(name);
    if (known !== undefined) return known;
    const { sae } = await peers.saes.getSae({ name }, { signal });
    return catalogue.sae({ name, digest: sae?.digest ?? "", dSae: sae?.dSae ?? 0, hookName: sae?.hookName ?? "" });
  };
  return {
    putExplanations: async ({ entries }, { signal }) => {
      if (entries.length > MOST_ENTRIES) throw invalidArgument("entries", `got ${entries.length}, wanted at most ${MOST_ENTRIES}`);
      const bySae = new Map<string, Explanation[]>();
      for (const [i, { feature: name, summary }] of entries.entries()) {
        const field = `entries[${i}]`;
        const ids = parseName("models/{model}/saes/{sae}/features/{feature_index}", name, `${field}.feature`);
        if (summary === undefined || summary.name === "") throw invalidArgument(`${field}.summary.name`, "is not set, wanted the explanation's resource name");
        if (summary.description.length > LONGEST) throw invalidArgument(`${field}.summary.description`, `got ${summary.description.length} characters, wanted at most ${LONGEST}`);
        const sae = `models/${ids.model}/saes/${ids.sae}`;
        const feature = requireFeature(`${field}.feature`, ids.feature_index, { sae: await saeOf(sae, signal) });
        const { description, explanationType, explanationModel, score = null } = summary;
        bySae.set(sae, [...(bySae.get(sae) ?? []), { feature, name: summary.name, description, explanationType, explanationModel, score }]);
      }
      for (const [sae, explanations] of bySae) await writeExplanations(clickhouse, (await saeOf(sae, signal)).saeId, explanations, signal);
      return { nStored: entries.length };
    },
  };
}

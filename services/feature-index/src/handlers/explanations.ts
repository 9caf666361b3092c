import { create } from "@bufbuild/protobuf";
import { EmbedExplanationsRequestSchema, type FeatureIndexService } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import { type Handlers, invalidArgument, notFound, parseName } from "@mistral-sae/rpc";
import type { SaeRecord } from "../catalogue/records.ts";
import type { Parts } from "../parts.ts";
import { type Explanation, writeExplanations } from "../serving/explanations.ts";
import { requireFeature } from "../serving/resolve-index.ts";
import { EMBED_KIND } from "../vectors/embed-job.ts";

const MOST_ENTRIES = 1_000;
const LONGEST = 8_192;

type Names = "putExplanations" | "deleteExplanations" | "embedExplanations";

export function explanationHandlers({ catalogue, clickhouse, engine, meaning, peers }: Parts): Pick<Handlers<typeof FeatureIndexService>, Names> {
  /** The SAE's record; one that was never indexed is known from now on. */
  const saeOf = async (name: string, signal: AbortSignal): Promise<SaeRecord> => {
    const known = catalogue.newestSae(name);
    if (known !== undefined) return known;
    const { sae } = await peers.saes.getSae({ name }, { signal });
    return catalogue.sae({ name, digest: sae?.digest ?? "", dSae: sae?.dSae ?? 0, hookName: sae?.hookName ?? "" });
  };
  return {
    putExplanations: async ({ entries }, { signal }) => {
      requireFew(entries);
      const bySae = new Map<string, Explanation[]>();
      for (const [i, { feature: name, summary }] of entries.entries()) {
        const field = `entries[${i}]`;
        const { sae, id } = parseFeature(name, `${field}.feature`);
        if (summary === undefined || summary.name === "") throw invalidArgument(`${field}.summary.name`, "is not set, wanted the explanation's resource name");
        if (summary.description.length > LONGEST) throw invalidArgument(`${field}.summary.description`, `got ${summary.description.length} characters, wanted at most ${LONGEST}`);
        const feature = requireFeature(`${field}.feature`, id, { sae: await saeOf(sae, signal) });
        const { description, explanationType, explanationModel, score = null } = summary;
        bySae.set(sae, [...(bySae.get(sae) ?? []), { feature, name: summary.name, description, explanationType, explanationModel, score }]);
      }
      for (const [name, explanations] of bySae) {
        const sae = await saeOf(name, signal);
        await writeExplanations(clickhouse, sae.saeId, explanations, signal);
        // Their vectors follow; a crash before is made good at the next start.
        meaning.wrote(sae);
      }
      return { nStored: entries.length };
    },
    deleteExplanations: async ({ entries }) => {
      requireFew(entries);
      const saes = catalogue.saes();
      const bySae = new Map<SaeRecord, { readonly feature: number; readonly name: string }[]>();
      for (const [i, { feature: given, name }] of entries.entries()) {
        const field = `entries[${i}]`;
        const { sae, id } = parseFeature(given, `${field}.feature`);
        if (name === "") throw invalidArgument(`${field}.name`, "is not set, wanted the explanation's resource name");
        for (const record of saes.filter((known) => known.name === sae)) {
          const feature = requireFeature(`${field}.feature`, id, { sae: record });
          bySae.set(record, [...(bySae.get(record) ?? []), { feature, name }]);
        }
      }
      let nDeleted = 0;
      for (const [record, named] of bySae) nDeleted += await meaning.remove(record, named);
      return { nDeleted };
    },
    embedExplanations: async ({ sae, requestId }) => {
      parseName("models/{model}/saes/{sae}", sae, "sae");
      if (catalogue.newestSae(sae) === undefined) throw notFound(sae, "was never indexed or explained");
      return await Promise.resolve({ operation: engine.start(EMBED_KIND, create(EmbedExplanationsRequestSchema, { sae }), { requestId }) });
    },
  };
}

function parseFeature(name: string, field: string): { readonly sae: string; readonly id: string } {
  const ids = parseName("models/{model}/saes/{sae}/features/{feature_index}", name, field);
  return { sae: `models/${ids.model}/saes/${ids.sae}`, id: ids.feature_index };
}

function requireFew({ length }: readonly unknown[]): void {
  if (length > MOST_ENTRIES) throw invalidArgument("entries", `got ${length}, wanted at most ${MOST_ENTRIES}`);
}

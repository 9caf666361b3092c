import type { IndexRecord } from "../../catalogue/records.ts";
import type { RowFacts } from "./rows.ts";

/** Neuronpedia's importer wants somebody. */
const CREATOR = "mistral-sae";

/** The plain files beside the batches, each with the one row of its table. */
export function metadataFiles({ sae, corpus, nTokens }: IndexRecord, facts: RowFacts): readonly (readonly [string, Record<string, unknown>])[] {
  const { modelId, sourceId, setName, createdAt } = facts;
  const people = { creatorName: CREATOR, creatorId: CREATOR };
  return [
    ["release.jsonl", { name: setName, description: `Features of ${sae.name}`, descriptionShort: null, ...people, urls: [], visibility: "PUBLIC", featured: false, isNewUi: false, createdAt }],
    [
      "model.jsonl",
      { id: modelId, displayName: modelId, displayNameShort: modelId, creatorId: CREATOR, tlensId: null, dimension: null, layers: facts.layer + 1, neuronsPerLayer: 0, owner: CREATOR, instruct: false, thinking: false, inferenceEnabled: false, visibility: "PUBLIC", createdAt },
    ],
    [
      "sourceset.jsonl",
      {
        modelId, name: setName, description: `${sae.dSae} features at ${sae.hookName}`, type: "", ...people, urls: [], releaseName: setName, visibility: "PUBLIC", hasDashboards: true, allowInferenceSearch: true,
        defaultRange: 1, defaultShowBreaks: true, showDfa: false, showCorrelated: false, showHeadAttribution: false, showUmap: false, createdAt,
      },
    ],
    [
      "source.jsonl",
      {
        id: sourceId, modelId, setName, creatorId: CREATOR, hasDashboards: true, inferenceEnabled: false, saelensConfig: null, saelensRelease: null, saelensSaeId: null, hfRepoId: null, hfFolderId: null,
        dataset: `corpora/${corpus.id}`, notes: null, num_prompts: Math.round(nTokens / Math.max(1, corpus.contextSize)), num_tokens_in_prompt: corpus.contextSize, visibility: "PUBLIC",
        hasUmap: false, hasUmapLogSparsity: false, hasUmapClusters: false, createdAt,
      },
    ],
  ];
}

import { timestampMs } from "@bufbuild/protobuf/wkt";
import {
  BatchExplainRequestSchema,
  BatchScoreExplanationsRequestSchema,
  type ExplanationService,
} from "@mistral-sae/contracts/mistral_sae/explanation/v1/explanation";
import { create } from "@bufbuild/protobuf";
import type { JobEngine } from "@mistral-sae/jobs";
import { type Handlers, invalidArgument, nextPageToken, notFound, pageStart } from "@mistral-sae/rpc";
import { resolveExplainConfig } from "./explainers/explain-settings.ts";
import { explainerOf } from "./explainers/registry.ts";
import { estimateCost } from "./estimate.ts";
import type { ExplanationDesk } from "./explanation-desk.ts";
import { batchExplainKind } from "./jobs/batch-explain.ts";
import { batchScoreKind } from "./jobs/batch-score.ts";
import { explanationTypes, scoreTypes } from "./method-lists.ts";
import { featureName, parseExplanation, parseFeature, parseParent, parseSae } from "./names.ts";
import { resolveScoreConfig } from "./scorers/score-settings.ts";
import type { PagePosition, StoredExplanation } from "./store/explanation-store.ts";

/** ExplanationService over a desk and a job engine. */
export function explanationHandlers(desk: ExplanationDesk, engine: JobEngine): Handlers<typeof ExplanationService> {
  const existing = (name: string): StoredExplanation => {
    const stored = desk.store.get(parseExplanation(name, "name"));
    if (stored === undefined) throw notFound(name);
    return stored;
  };
  return {
    explain: async ({ feature, config, force }, { signal }) => ({
      explanation: await desk.explain(parseFeature(feature, "feature"), config, force, signal),
    }),

    batchExplain: async (request) => {
      parseSae(request.parent, "parent");
      // What can be refused is refused now, and not by an operation that fails.
      const { explanationType, clientId, explanationModel } = resolveExplainConfig(request.config, desk.endpoints.any);
      if (explainerOf(explanationType) !== undefined) desk.endpoints.describe(clientId, explanationModel);
      if (request.score !== undefined) {
        const { config } = resolveScoreConfig(request.score);
        desk.endpoints.describe(config.clientId, config.scoreModel);
        if (explainerOf(explanationType) === undefined) {
          throw invalidArgument("score", "got a score with local summaries, wanted none: only a language model's words are scored");
        }
      }
      checkCost(request.maxCostUsd);
      const input = create(BatchExplainRequestSchema, request);
      return { operation: engine.start(batchExplainKind, input, { requestId: request.requestId }) };
    },

    scoreExplanation: async ({ name, config }, { signal }) => {
      const kept = await desk.score(existing(name), config, { signal, spending: desk.spending(undefined) });
      return { scores: kept.map(({ score }) => score) };
    },

    batchScoreExplanations: async (request) => {
      parseSae(request.parent, "parent");
      const { config } = resolveScoreConfig(request.config);
      desk.endpoints.describe(config.clientId, config.scoreModel);
      checkCost(request.maxCostUsd);
      const input = create(BatchScoreExplanationsRequestSchema, request);
      return { operation: engine.start(batchScoreKind, input, { requestId: request.requestId }) };
    },

    getExplanation: async ({ name }) => ({ explanation: existing(name).explanation }),

    listExplanations: async ({ parent, pageSize, pageToken }) => {
      const { sae, feature } = parseParent(parent, "parent");
      const { size, after } = pageStart({ pageSize, pageToken }, parent);
      const rows = desk.store.page(sae, feature, after === undefined ? undefined : (JSON.parse(after) as PagePosition), size + 1);
      const page = rows.slice(0, size);
      const last = page.at(-1);
      return {
        explanations: page.map(({ explanation }) => explanation),
        nextPageToken: rows.length > size && last !== undefined ? nextPageToken(JSON.stringify(positionOf(last)), parent) : "",
      };
    },

    deleteExplanation: async ({ name }, { signal }) => {
      const { key } = existing(name);
      // First from the index: where that fails, the call can be made again.
      await desk.source.withdraw([{ feature: featureName(key), name }], signal);
      desk.store.delete(key);
      return {};
    },

    rateExplanation: async ({ name, vote, rater, comment }) => {
      const { key } = existing(name);
      if (vote < -1 || vote > 1) throw invalidArgument("vote", `got ${vote}, wanted -1, 0 or 1`);
      if (rater === "") throw invalidArgument("rater", "got nothing, wanted who votes: each rater has one vote");
      desk.store.rate(key, rater, vote, comment);
      return { explanation: existing(name).explanation };
    },

    listExplanationTypes: async () => ({ types: explanationTypes(desk.endpoints) }),
    listScoreTypes: async () => ({ types: scoreTypes(desk.endpoints) }),
    estimateCost: async (request, { signal }) => await estimateCost(desk, request, signal),
  };
}

function checkCost(maxCostUsd: number | undefined): void {
  if (maxCostUsd !== undefined && !(maxCostUsd >= 0)) throw invalidArgument("max_cost_usd", `got ${maxCostUsd}, wanted at least 0`);
}

function positionOf({ key, explanation }: StoredExplanation): PagePosition {
  const createMs = explanation.createTime === undefined ? 0 : Math.floor(timestampMs(explanation.createTime));
  return { feature: key.feature, createMs, id: key.id };
}

import type { MessageInitShape } from "@bufbuild/protobuf";
import type { EstimateCostRequest, EstimateCostResponseSchema } from "@mistral-sae/contracts/mistral_sae/explanation/v1/explanation";
import { resolveExplainConfig } from "./explainers/explain-settings.ts";
import { explainerOf } from "./explainers/registry.ts";
import type { ExplanationDesk } from "./explanation-desk.ts";
import { costOf, estimateTokens } from "./llm/price.ts";
import { parseSae } from "./names.ts";
import { resolveScoreConfig } from "./scorers/score-settings.ts";

/** Tokens of the judge's model for one token of the corpus, marks and numbering included. */
const tokensPerToken = 1.5;
/** Tokens of a (token, activation) pair. */
const tokensPerPair = 4;
const replyTokens = { explain: 40, judgement: 3 } as const;
/** Tokens of a passage shown to a judge. */
const judgedTokens = 32;

/** Calls, tokens and money that a batch would take if every feature had all the examples asked for. */
export async function estimateCost(
  desk: ExplanationDesk,
  request: EstimateCostRequest,
  signal: AbortSignal,
): Promise<MessageInitShape<typeof EstimateCostResponseSchema>> {
  const parent = parseSae(request.parent, "parent");
  const features = Number(request.nFeatures > 0n ? request.nFeatures : await desk.source.countLive(parent, signal));
  const config = resolveExplainConfig(request.config, desk.endpoints.any);
  const explainer = explainerOf(config.explanationType);
  const total = { calls: 0, promptTokens: 0, completionTokens: 0, costUsd: 0, priced: true };
  const add = (clientId: string, model: string, calls: number, promptTokens: number, completionTokens: number): void => {
    const { price } = desk.endpoints.describe(clientId, model);
    total.calls += calls;
    total.promptTokens += calls * promptTokens;
    total.completionTokens += calls * completionTokens;
    if (price === undefined) total.priced = false;
    else total.costUsd += costOf(price, { promptTokens: calls * promptTokens, completionTokens: calls * completionTokens });
  };
  if (explainer !== undefined) {
    const perToken = explainer.type === "oai_token-act-pair" ? tokensPerPair : tokensPerToken;
    const prompt = estimateTokens(explainer.system) + Math.ceil(config.nTrain * config.exampleCtxLen * perToken);
    add(config.clientId, config.explanationModel, features, prompt, replyTokens.explain);
  }
  if (request.score !== undefined) {
    const { config: score, scorers } = resolveScoreConfig(request.score);
    const passages = score.nTest + score.nNonActivating;
    const runs = score.randomControl === true ? 2 : 1;
    const calls = features * runs * Math.ceil(passages / score.examplesPerPrompt);
    for (const { system } of scorers) {
      const prompt = estimateTokens(system) + 30 + Math.ceil(score.examplesPerPrompt * judgedTokens * tokensPerToken);
      add(score.clientId, score.scoreModel, calls, prompt, 10 + replyTokens.judgement * score.examplesPerPrompt);
    }
  }
  return {
    nCalls: BigInt(total.calls),
    promptTokens: BigInt(total.promptTokens),
    completionTokens: BigInt(total.completionTokens),
    ...(total.priced ? { costUsd: total.costUsd } : {}),
  };
}

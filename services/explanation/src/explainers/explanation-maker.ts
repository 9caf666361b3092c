import { create, toJsonString } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import {
  type ExplainConfig,
  ExplainConfigSchema,
  type Explanation,
  ExplanationSchema,
  ExplanationStatus,
} from "@mistral-sae/contracts/mistral_sae/explanation/v1/explanation";
import type { Feature } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature";
import type { FeatureSource } from "../feature-source.ts";
import type { ChosenModel, Endpoints } from "../llm/endpoints.ts";
import type { TokenCount } from "../llm/price.ts";
import { textField } from "../llm/reply.ts";
import type { Spending } from "../llm/spending.ts";
import { localSummary } from "../local-summary/local-summary.ts";
import { contentId, type ExplanationKey, explanationName, featureName } from "../names.ts";
import type { Explainer } from "./explainer.ts";
import { resolveExplainConfig } from "./explain-settings.ts";
import { explainerOf, explanationReply, templateOf } from "./registry.ts";

/** A way of explaining with everything resolved. */
export interface Method {
  readonly config: ExplainConfig;
  /** Absent for the local summary. */
  readonly explainer: Explainer | undefined;
  /** Absent for the local summary. */
  readonly chosen: ChosenModel | undefined;
  /** Last segment of the names of the explanations that it makes. */
  readonly id: string;
  /** Of the index that it reads: explanations made from another one are made anew, under the same names. */
  readonly version: string;
}

/** What one attempt at explaining came to. */
interface Made {
  readonly status: ExplanationStatus;
  readonly statusReason?: string;
  readonly description?: string;
  readonly exampleSequenceIds?: bigint[];
  readonly usage?: TokenCount;
  readonly costUsd?: number;
}

/** Tokens of context that the local summary reads on each side of a firing. */
const localContextTokens = 6;

/** Makes explanations; keeps none. */
export class ExplanationMaker {
  readonly #source: FeatureSource;
  readonly #endpoints: Endpoints;

  constructor(source: FeatureSource, endpoints: Endpoints) {
    this.#source = source;
    this.#endpoints = endpoints;
  }

  /** Resolves what a request asks for. Throws when it cannot be done here. */
  async method(sae: string, config: ExplainConfig | undefined, signal: AbortSignal): Promise<Method> {
    const resolved = resolveExplainConfig(config, this.#endpoints.any);
    const explainer = explainerOf(resolved.explanationType);
    const chosen = explainer === undefined ? undefined : await this.#endpoints.choose(resolved.clientId, resolved.explanationModel);
    if (chosen === undefined) resolved.clientId = "";
    resolved.explanationModel = chosen?.model ?? "";
    const version = await this.#source.version(sae, signal);
    const { templateSha256 } = templateOf(explainer);
    const endpoint = chosen?.languageModel.endpoint ?? "";
    const id = contentId(resolved.explanationType, templateSha256, endpoint, madeBy(resolved));
    return { config: resolved, explainer, chosen, id, version };
  }

  /** Explains features without a language model, at most 128 at a time. */
  async local(sae: string, features: readonly number[], method: Method, signal: AbortSignal): Promise<Explanation[]> {
    const pages = await this.#source.features(sae, features, true, localContextTokens, signal);
    return pages.map((page) => {
      const key = { sae, feature: page.featureIndex, id: method.id };
      const reason = tooFew(Number(page.nFirings), method.config);
      const ids = page.examples.map(({ sequenceId }) => sequenceId);
      if (reason !== undefined) return this.#message(key, method, { status: ExplanationStatus.SKIPPED, statusReason: reason });
      const description = localSummary(page);
      return this.#message(key, method, { status: ExplanationStatus.OK, description, exampleSequenceIds: [...new Set(ids)] });
    });
  }

  /** Explains one feature by a language model. An unusable reply gives an explanation that FAILED. */
  async byLanguageModel(
    sae: string,
    page: Feature,
    method: Method & { readonly explainer: Explainer; readonly chosen: ChosenModel },
    spending: Spending,
    signal: AbortSignal,
  ): Promise<Explanation> {
    const { config, explainer, chosen } = method;
    const key = { sae, feature: page.featureIndex, id: method.id };
    const examples = page.nFirings === 0n ? [] : await this.#source.examples(sae, page.featureIndex, config, signal);
    const reason = tooFew(examples.length, config);
    if (reason !== undefined) return this.#message(key, method, { status: ExplanationStatus.SKIPPED, statusReason: reason });
    const reply = await spending.ask(
      chosen,
      {
        system: explainer.system,
        user: explainer.question({ feature: page, examples, threshold: config.threshold ?? 0 }),
        schema: explanationReply,
        temperature: config.temperature ?? 0,
        seed: config.seed,
        maxTokens: config.maxTokens,
      },
      { feature: featureName(key), task: "explain" },
      signal,
    );
    const description = textField(reply.text, "explanation");
    const paid = { usage: reply.tokens, costUsd: reply.costUsd, exampleSequenceIds: [...new Set(examples.map(({ sequenceId }) => sequenceId))] };
    if (description !== undefined) return this.#message(key, method, { ...paid, status: ExplanationStatus.OK, description });
    const cut = reply.cut ? `; it was cut off at ${config.maxTokens} tokens` : "";
    const statusReason = `the reply is not a JSON object with the text "explanation"${cut}: ${JSON.stringify(reply.text.slice(0, 200))}`;
    return this.#message(key, method, { ...paid, status: ExplanationStatus.FAILED, statusReason });
  }

  #message(key: ExplanationKey, { config, explainer, chosen }: Method, made: Made): Explanation {
    return create(ExplanationSchema, {
      ...made,
      name: explanationName(key),
      explanationType: config.explanationType,
      explanationModel: chosen?.model ?? "",
      ...templateOf(explainer),
      config,
      createTime: timestampFromMs(Date.now()),
    });
  }
}

/** The settings that decide the words: how many calls run at a time does not. */
function madeBy(config: ExplainConfig): string {
  return toJsonString(ExplainConfigSchema, { ...config, maxConcurrency: 0 });
}

function tooFew(examples: number, config: ExplainConfig): string | undefined {
  if (examples >= config.minExamples) return undefined;
  return examples === 0 ? "the feature never fires in the index" : `${examples} examples, wanted at least ${config.minExamples}`;
}

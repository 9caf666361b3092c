import { create, toJsonString } from "@bufbuild/protobuf";
import { type Score, type ScoreConfig, ScoreConfigSchema, ScoreSchema, type ScoredExample, ScoredExampleSchema } from "@mistral-sae/contracts/mistral_sae/explanation/v1/explanation";
import { type ActivationExample, ActivationGroup } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature";
import type { FeatureSource } from "../feature-source.ts";
import { inParallel } from "../in-parallel.ts";
import type { ChosenModel } from "../llm/endpoints.ts";
import { addTokens, noTokens, type TokenCount } from "../llm/price.ts";
import { judgements } from "../llm/reply.ts";
import type { Spending } from "../llm/spending.ts";
import { contentId, explanationName, featureName } from "../names.ts";
import { SeededRandom } from "../seeded-random.ts";
import type { ExplanationStore, StoredExplanation } from "../store/explanation-store.ts";
import { metricsOf } from "./metrics.ts";
import { answersReply, type Scorer } from "./scorer.ts";

/** A passage that is judged, as the judge sees it. */
interface TestCase {
  readonly example: ActivationExample;
  readonly activating: boolean;
  readonly shown: string;
}

/** Predictions for all cases, and what they cost. */
interface Verdicts {
  readonly predictions: (boolean | undefined)[];
  readonly tokens: TokenCount;
  readonly costUsd: number;
}

/** Tokens of an example shown to the judge. */
const contextLength = 32;
const strata = 10;
/** Most tokens of a reply, a passage: a digit, a comma and a blank, with room for a wrapper. */
const replyTokensPerPassage = 4;
const replyTokensFixed = 40;

/** Scores explanations by asking a language model about passages that the explanation was not made from. */
export class ExplanationScorer {
  readonly #source: FeatureSource;
  readonly #store: ExplanationStore;

  constructor(source: FeatureSource, store: ExplanationStore) {
    this.#source = source;
    this.#store = store;
  }

  /** Last segment of the score's name: from what it is made of. */
  scoreId(scorer: Scorer, config: ScoreConfig, chosen: ChosenModel): string {
    const settings = toJsonString(ScoreConfigSchema, { ...config, scoreTypes: [scorer.type], maxConcurrency: 0 });
    return contentId(scorer.name, chosen.languageModel.endpoint, chosen.model, scorer.system, settings);
  }

  /** Judges the explanation, and a random other one of the same SAE on the same passages as a control. */
  async score(
    stored: StoredExplanation,
    scorer: Scorer,
    config: ScoreConfig,
    chosen: ChosenModel,
    spending: Spending,
    signal: AbortSignal,
  ): Promise<Score> {
    const { sae, feature } = stored.key;
    const cases = await this.#cases(stored, scorer, config, signal);
    const ask = async (description: string): Promise<Verdicts> =>
      await this.#judge(description, cases, scorer, config, chosen, spending, featureName(stored.key), signal);
    const own = await ask(stored.explanation.description);
    const n = new SeededRandom(config.seed ^ BigInt(feature)).below(2 ** 31);
    const other = config.randomControl === true ? this.#store.other(sae, feature, n) : undefined;
    const control = other === undefined ? undefined : await ask(other.explanation.description);
    const judged = (predictions: Verdicts["predictions"]) => cases.map(({ activating }, i) => ({ activating, prediction: predictions[i] }));
    const tokens = addTokens(own.tokens, control?.tokens ?? noTokens);
    return create(ScoreSchema, {
      name: `${explanationName(stored.key)}/scores/${this.scoreId(scorer, config, chosen)}`,
      scoreType: scorer.type,
      scoreModel: chosen.model,
      metrics: metricsOf(judged(own.predictions)),
      ...(control === undefined ? {} : { randomControl: metricsOf(judged(control.predictions)) }),
      n: cases.length,
      nFailed: own.predictions.filter((prediction) => prediction === undefined).length,
      usage: { ...tokens },
      examples: cases.map((testCase, i) => scoredExample(testCase, own.predictions[i])),
      costUsd: own.costUsd + (control?.costUsd ?? 0),
    });
  }

  async #cases(stored: StoredExplanation, scorer: Scorer, config: ScoreConfig, signal: AbortSignal): Promise<TestCase[]> {
    const { sae, feature } = stored.key;
    const shown = new Set(stored.explanation.exampleSequenceIds);
    const list = async (group: ActivationGroup, size: number): Promise<ActivationExample[]> =>
      await this.#source.activations(sae, feature, { group, size: Math.min(size, 1000), nBins: strata, seed: config.seed, contextLength }, signal);
    const firing = (await list(ActivationGroup.QUANTILE_COUNT, config.nTest + shown.size)).filter(({ sequenceId }) => !shown.has(sequenceId));
    const silent = await list(ActivationGroup.NON_ACTIVATING, config.nNonActivating);
    const random = new SeededRandom(config.seed ^ (BigInt(feature) << 1n));
    const cases = [
      ...spread(firing, config.nTest).map((example) => ({ example, activating: true })),
      ...silent.map((example) => ({ example, activating: false })),
    ].map(({ example, activating }) => ({ example, activating, shown: scorer.show(example, activating, random) }));
    return random.shuffle(cases);
  }

  async #judge(
    description: string,
    cases: readonly TestCase[],
    scorer: Scorer,
    config: ScoreConfig,
    chosen: ChosenModel,
    spending: Spending,
    feature: string,
    signal: AbortSignal,
  ): Promise<Verdicts> {
    const batches: TestCase[][] = [];
    for (let i = 0; i < cases.length; i += config.examplesPerPrompt) batches.push(cases.slice(i, i + config.examplesPerPrompt));
    const verdicts = await inParallel(batches, config.maxConcurrency, signal, async (batch) => {
      const passages = batch.map(({ shown }, i) => `${i + 1}. ${shown}`).join("\n");
      const user = `Description: ${description}\n\nPassages:\n${passages}`;
      const maxTokens = replyTokensFixed + replyTokensPerPassage * batch.length;
      const request = { system: scorer.system, user, schema: answersReply, temperature: 0, seed: config.seed, maxTokens };
      const reply = await spending.ask(chosen, request, { feature, task: scorer.name }, signal);
      // A reply of another length says nothing about any single passage: all of its batch fail.
      const answers = judgements(reply.text, "answers", batch.length);
      const predictions: (boolean | undefined)[] = answers ?? batch.map(() => undefined);
      return { predictions, tokens: reply.tokens, costUsd: reply.costUsd };
    });
    return {
      predictions: verdicts.flatMap(({ predictions }) => predictions),
      tokens: verdicts.reduce((sum, { tokens }) => addTokens(sum, tokens), noTokens),
      costUsd: verdicts.reduce((sum, { costUsd }) => sum + costUsd, 0),
    };
  }
}

/** `n` of the items, evenly spaced, or all. */
function spread<T>(items: readonly T[], n: number): T[] {
  if (items.length <= n) return [...items];
  return Array.from({ length: n }, (_, i) => items[Math.floor((i * items.length) / n)] as T);
}

function scoredExample({ example, activating }: TestCase, prediction: boolean | undefined): ScoredExample {
  return create(ScoredExampleSchema, {
    sequenceId: example.sequenceId,
    quantile: example.bin,
    activating,
    ...(prediction === undefined ? {} : { prediction }),
  });
}

import { type ExplainConfig, type Explanation, ExplanationStatus, type Score, type ScoreConfig } from "@mistral-sae/contracts/mistral_sae/explanation/v1/explanation";
import { failedPrecondition } from "@mistral-sae/rpc";
import type { Explainer } from "./explainers/explainer.ts";
import { ExplanationMaker, type Method } from "./explainers/explanation-maker.ts";
import { FeatureSource } from "./feature-source.ts";
import { inParallel } from "./in-parallel.ts";
import type { EndpointGate } from "./llm/backoff.ts";
import type { ChosenModel, Endpoints } from "./llm/endpoints.ts";
import { BudgetSpent, Spending } from "./llm/spending.ts";
import { type FeatureKey, featureName } from "./names.ts";
import { ExplanationScorer } from "./scorers/explanation-scorer.ts";
import { resolveScoreConfig } from "./scorers/score-settings.ts";
import type { ExplanationStore, StoredExplanation } from "./store/explanation-store.ts";

/** Who pays and who works: a single call, or an operation. */
export interface WorkContext {
  readonly signal: AbortSignal;
  readonly spending: Spending;
  /** Holds all shards of an operation to its calls at a time. */
  readonly gate?: EndpointGate;
  /** Resource name of the operation; absent for a single call. */
  readonly operation?: string;
}

/** A score and the operation that made it. */
export interface KeptScore {
  readonly score: Score;
  readonly operation: string | undefined;
}

/** Makes, scores, keeps and publishes explanations. */
export class ExplanationDesk {
  readonly store: ExplanationStore;
  readonly source: FeatureSource;
  readonly endpoints: Endpoints;
  readonly maker: ExplanationMaker;
  readonly #scorer: ExplanationScorer;

  constructor(store: ExplanationStore, source: FeatureSource, endpoints: Endpoints) {
    this.store = store;
    this.source = source;
    this.endpoints = endpoints;
    this.maker = new ExplanationMaker(source, endpoints);
    this.#scorer = new ExplanationScorer(source, store);
  }

  /** Money of one call or operation, with what it has spent before. */
  spending(maxUsd: number | undefined, operation?: string): Spending {
    const spent = operation === undefined ? 0 : this.store.spentBy(operation).costUsd;
    return new Spending(maxUsd, spent, (call) => this.store.recordCall(call, operation));
  }

  /** Explains one feature, or returns the same explanation made before. */
  async explain(key: FeatureKey, config: ExplainConfig | undefined, force: boolean, signal: AbortSignal): Promise<Explanation> {
    const method = await this.maker.method(key.sae, config, signal);
    const work = { signal, spending: this.spending(undefined) };
    await this.explainAll(key.sae, [key.feature], method, force, work);
    const stored = this.store.get({ ...key, id: method.id });
    if (stored === undefined) throw failedPrecondition("NOT_EXPLAINED", `${featureName(key)} could not be explained`);
    return stored.explanation;
  }

  /**
   * Explains features (at most 128) that have no such explanation yet, stores each as soon as it is made, and gives
   * all of them to the index. Features that the budget has no money for are left out.
   */
  async explainAll(sae: string, features: readonly number[], method: Method, force: boolean, work: WorkContext): Promise<void> {
    const { signal, operation } = work;
    const before = this.store.find(sae, features, method.id, method.version);
    const wanted = features.filter((feature) => {
      const stored = before.get(feature);
      if (stored === undefined) return true;
      const own = operation !== undefined && stored.operation === operation;
      // A failure of another time is tried again; one of this operation has been paid for and stays.
      return !own && (force || stored.explanation.status !== ExplanationStatus.OK);
    });
    if (wanted.length > 0) await this.#make(sae, wanted, method, work);
    await this.#publish([...this.store.find(sae, features, method.id, method.version).values()], signal);
  }

  async #make(sae: string, features: readonly number[], method: Method, work: WorkContext): Promise<void> {
    const { explainer, chosen } = method;
    const { signal, spending, operation, gate } = work;
    if (explainer === undefined || chosen === undefined) {
      const made = await this.maker.local(sae, features, method, signal);
      const entries = made.map((explanation, i) => ({ key: { sae, feature: features[i] ?? 0, id: method.id }, explanation }));
      this.store.put(entries, method.version, operation);
      return;
    }
    const asked: Method & { readonly explainer: Explainer; readonly chosen: ChosenModel } = { ...method, explainer, chosen };
    const pages = await this.source.features(sae, features, false, 0, signal);
    await inParallel(pages, method.config.maxConcurrency, signal, async (page) => {
      try {
        const make = async (): Promise<Explanation> => await this.maker.byLanguageModel(sae, page, asked, spending, signal);
        const explanation = await (gate === undefined ? make() : gate.run(signal, make));
        this.store.put([{ key: { sae, feature: page.featureIndex, id: method.id }, explanation }], method.version, operation);
      } catch (error) {
        if (!(error instanceof BudgetSpent)) throw error;
      }
    });
  }

  /** Scores an explanation; scores made before with the same settings are returned. Throws BudgetSpent. */
  async score(stored: StoredExplanation, given: ScoreConfig | undefined, work: WorkContext): Promise<KeptScore[]> {
    const { signal, spending, operation } = work;
    const { explanation, key } = stored;
    if (explanation.status !== ExplanationStatus.OK) {
      throw failedPrecondition("NO_DESCRIPTION", `${explanation.name} has no words to score: ${explanation.statusReason}`);
    }
    if (explanation.explanationModel === "") {
      throw failedPrecondition("LOCAL_SUMMARY", `${explanation.name} is a local summary, which quotes the index: only a language model's words are scored`);
    }
    const { config, scorers } = resolveScoreConfig(given);
    const chosen = await this.endpoints.choose(config.clientId, config.scoreModel);
    const scores: KeptScore[] = [];
    for (const scorer of scorers) {
      const id = this.#scorer.scoreId(scorer, config, chosen);
      const before = this.store.score(key, id);
      if (before !== undefined) {
        scores.push(before);
        continue;
      }
      const score = await this.#scorer.score(stored, scorer, config, chosen, spending, signal);
      this.store.putScore(key, id, score, operation);
      scores.push({ score, operation });
    }
    const scored = this.store.get(key);
    if (scored !== undefined) await this.#publish([scored], signal);
    return scores;
  }

  async #publish(stored: readonly StoredExplanation[], signal: AbortSignal): Promise<void> {
    const ready = stored.filter(({ explanation }) => explanation.status === ExplanationStatus.OK);
    if (ready.length === 0) return;
    await this.source.publish(ready.map(({ key, explanation }) => ({ feature: featureName(key), explanation })), signal);
  }
}

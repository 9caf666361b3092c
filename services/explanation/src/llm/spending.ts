import { counter, histogram } from "@mistral-sae/telemetry";
import { failedPrecondition } from "@mistral-sae/rpc";
import type { ChosenModel } from "./endpoints.ts";
import type { ChatReply, ChatRequest } from "./language-model.ts";
import { costOf, estimateTokens } from "./price.ts";

/** What a call was for, as the cost ledger keeps it. */
export interface Purpose {
  /** Resource name of the feature. */
  readonly feature: string;
  /** "explain" or the scorer's name. */
  readonly task: string;
}

/** A paid call, as the cost ledger keeps it. */
export interface PaidCall extends Purpose {
  readonly endpoint: string;
  readonly model: string;
  readonly promptTokens: number;
  readonly completionTokens: number;
  readonly costUsd: number;
}

/** A reply and what it cost. */
export interface PaidReply extends ChatReply {
  readonly costUsd: number;
}

/** Thrown instead of a call that the budget has no money for. */
export class BudgetSpent extends Error {
  override readonly name = "BudgetSpent";
}

/** Asks a model, writes every call to the ledger, and refuses calls beyond the budget. */
export class Spending {
  readonly #maxUsd: number | undefined;
  readonly #record: (call: PaidCall) => void;
  #spentUsd: number;
  /** Most that the calls under way can cost. */
  #reservedUsd = 0;

  /** `spentUsd`: paid before, e.g. before a restart. `record` stores a call durably. */
  constructor(maxUsd: number | undefined, spentUsd: number, record: (call: PaidCall) => void) {
    this.#maxUsd = maxUsd;
    this.#spentUsd = spentUsd;
    this.#record = record;
  }

  /** Throws BudgetSpent when this call could exceed the budget, FAILED_PRECONDITION when it has no price to check by. */
  async ask(chosen: ChosenModel, request: Omit<ChatRequest, "model">, purpose: Purpose, signal: AbortSignal): Promise<PaidReply> {
    const { languageModel, model, price } = chosen;
    const reserved = this.#reserve(chosen, request);
    const began = performance.now();
    try {
      const reply = await languageModel.ask({ ...request, model }, signal);
      const costUsd = price === undefined ? 0 : costOf(price, reply.tokens);
      this.#spentUsd += costUsd;
      this.#record({ ...purpose, endpoint: languageModel.endpoint, model, ...reply.tokens, costUsd });
      measure(model, reply, costUsd, performance.now() - began);
      return { ...reply, costUsd };
    } finally {
      this.#reservedUsd -= reserved;
    }
  }

  #reserve(chosen: ChosenModel, request: Omit<ChatRequest, "model">): number {
    if (this.#maxUsd === undefined) return 0;
    if (chosen.price === undefined) {
      throw failedPrecondition(
        "PRICE_UNKNOWN",
        `max_cost_usd is set, and the price of "${chosen.model}" is not: add it to MISTRAL_SAE_LLM_PRICES`,
      );
    }
    const promptTokens = estimateTokens(request.system + request.user);
    const most = costOf(chosen.price, { promptTokens, completionTokens: request.maxTokens });
    if (this.#spentUsd + this.#reservedUsd + most > this.#maxUsd) {
      throw new BudgetSpent(`the budget of ${this.#maxUsd} USD is spent`);
    }
    this.#reservedUsd += most;
    return most;
  }
}

function measure(model: string, reply: ChatReply, costUsd: number, ms: number): void {
  const attributes = { "gen_ai.operation.name": "chat", "gen_ai.request.model": model };
  histogram("gen_ai.client.operation.duration").record(ms / 1000, attributes);
  histogram("gen_ai.client.token.usage").record(reply.tokens.promptTokens, { ...attributes, "gen_ai.token.type": "input" });
  histogram("gen_ai.client.token.usage").record(reply.tokens.completionTokens, { ...attributes, "gen_ai.token.type": "output" });
  counter("mistral_sae.explain.cost_usd").add(costUsd, attributes);
}

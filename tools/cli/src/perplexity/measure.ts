import type { Engine } from "@mistral-sae/model";

/** How well a model predicts some text. */
export interface Perplexity {
  /** Tokens predicted. */
  readonly tokens: number;
  /** Mean of -ln p(token | those before it), nats. */
  readonly meanNll: number;
  /** exp(meanNll) */
  readonly perplexity: number;
}

/** Scores every token of the sequences but the first of each. */
export async function measurePerplexity(engine: Engine, sequences: readonly Uint32Array[], signal: AbortSignal, onTokens: (done: number) => void): Promise<Perplexity> {
  let sum = 0;
  let tokens = 0;
  for await (const { logprobs } of engine.score(sequences.map((sequence) => ({ tokens: sequence })), { signal })) {
    for (const logprob of logprobs) sum -= logprob;
    tokens += logprobs.length;
    onTokens(tokens);
  }
  return { tokens, meanNll: sum / tokens, perplexity: Math.exp(sum / tokens) };
}

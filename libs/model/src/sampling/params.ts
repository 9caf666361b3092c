/** How the next token is chosen from the logits. Every field is required; see {@link greedy} for the neutral values. */
export interface SamplingParams {
  /** 0 is greedy. */
  readonly temperature: number;
  /** Nucleus mass in (0, 1]. */
  readonly topP: number;
  /** Keep the k likeliest; 0 keeps all. */
  readonly topK: number;
  /** Drop tokens below minP × the largest probability, in [0, 1]. */
  readonly minP: number;
  /** CTRL's multiplicative penalty on tokens seen in prompt or output; 1 is none. */
  readonly repetitionPenalty: number;
  /** Subtracted once from the logit of a token already generated. */
  readonly presencePenalty: number;
  /** Subtracted for each occurrence among the generated tokens. */
  readonly frequencyPenalty: number;
  /** [token, added to its logit before the penalties]; ids below dVocab. */
  readonly logitBias?: readonly (readonly [number, number])[];
  /** Seed of the request's own stream, 0 to 2^64 − 1: step t of any slot with this seed draws the same number. */
  readonly seed: bigint;
  /** Log-probabilities of this many likeliest tokens a step, 0 to 20; above 0 the chosen token's is reported too. */
  readonly nLogprobs: number;
}

/** Greedy decoding without penalties or log-probabilities. */
export const greedy: SamplingParams = {
  temperature: 0,
  topP: 1,
  topK: 0,
  minP: 0,
  repetitionPenalty: 1,
  presencePenalty: 0,
  frequencyPenalty: 0,
  seed: 0n,
  nLogprobs: 0,
};

/** Most log-probabilities a step. */
export const mostLogprobs = 20;

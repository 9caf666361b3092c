/** USD for a million tokens. */
export interface Price {
  readonly prompt: number;
  readonly completion: number;
}

/** Tokens that one or more calls took. */
export interface TokenCount {
  readonly promptTokens: number;
  readonly completionTokens: number;
}

export const noTokens: TokenCount = { promptTokens: 0, completionTokens: 0 };

export function addTokens(a: TokenCount, b: TokenCount): TokenCount {
  return { promptTokens: a.promptTokens + b.promptTokens, completionTokens: a.completionTokens + b.completionTokens };
}

/** Money for tokens, in USD. */
export function costOf(price: Price, tokens: TokenCount): number {
  return (tokens.promptTokens * price.prompt + tokens.completionTokens * price.completion) / 1e6;
}

/** Tokens of a text as an estimate, on the high side for English: used for reservations and forecasts, never for bills. */
export function estimateTokens(text: string): number {
  return Math.ceil(text.length / 3);
}

import type { Generated } from "./job.ts";

/** Tokens of a whole answer: each prompt counts once, whatever the number of its choices. */
export function usageOf(all: readonly Generated[], choicesOfPrompt: number) {
  let [prompt, completion, cached] = [0, 0, 0];
  for (const [i, { finished }] of all.entries()) {
    const { promptTokens = 0, completionTokens = 0, cachedTokens = 0 } = finished.usage ?? {};
    completion += completionTokens;
    if (i % choicesOfPrompt !== 0) continue;
    prompt += promptTokens;
    cached += cachedTokens;
  }
  return { prompt_tokens: prompt, completion_tokens: completion, total_tokens: prompt + completion, prompt_tokens_details: { cached_tokens: cached } };
}

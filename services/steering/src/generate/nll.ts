import type { InferenceService } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import { type Client, internal } from "@mistral-sae/rpc";

/** A text to score: what was generated after a prompt. */
export interface ScoredText {
  readonly promptIds: readonly number[];
  readonly tokenIds: readonly number[];
}

/** Sum of the negative log-likelihoods of a text's tokens, in nats, and how many there are. */
export interface TextNll {
  readonly sum: number;
  readonly tokens: number;
}

/** Negative log-likelihood of texts under the unsteered model, given their prompts; texts of no tokens have none. */
export async function textNll(
  inference: Client<typeof InferenceService>,
  model: string,
  texts: readonly ScoredText[],
  maxPrompts: number,
  signal: AbortSignal,
): Promise<TextNll[]> {
  const result: TextNll[] = texts.map(() => ({ sum: 0, tokens: 0 }));
  const filled = texts.flatMap(({ tokenIds, promptIds }, i) => (tokenIds.length > 0 && promptIds.length > 0 ? [i] : []));
  for (let start = 0; start < filled.length; start += maxPrompts) {
    const part = filled.slice(start, start + maxPrompts);
    const sequences = part.map((i) => ({ tokenIds: [...(texts[i]?.promptIds ?? []), ...(texts[i]?.tokenIds ?? [])] }));
    let answers = 0;
    for await (const { sequenceIndex, logprobs } of inference.scoreTokens({ model, sequences }, { signal })) {
      const i = part[sequenceIndex];
      const text = i === undefined ? undefined : texts[i];
      if (i === undefined || text === undefined || logprobs === undefined) continue;
      const { data } = logprobs;
      const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
      let sum = 0;
      // Entry t is the token t + 1: the first generated token is entry promptIds.length - 1.
      for (let t = text.promptIds.length - 1; t < data.byteLength / 4; t++) sum -= view.getFloat32(4 * t, true);
      result[i] = { sum, tokens: text.tokenIds.length };
      answers += 1;
    }
    if (answers !== part.length) throw internal("SCORES_MISSING", `the inference service scored ${answers} of ${part.length} texts`);
  }
  return result;
}

/** Nats a token over texts; undefined without any token. */
export function meanNll(scores: readonly TextNll[]): number | undefined {
  const tokens = scores.reduce((sum, score) => sum + score.tokens, 0);
  return tokens === 0 ? undefined : scores.reduce((sum, score) => sum + score.sum, 0) / tokens;
}

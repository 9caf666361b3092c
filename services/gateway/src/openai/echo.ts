import { internal } from "@mistral-sae/rpc";
import { f32View } from "@mistral-sae/tensor";
import type { Exchange } from "./clients.ts";
import type { Job, Prompt } from "./job.ts";
import type { ScoredToken } from "./logprobs.ts";

/** A prompt as `echo` gives it back. */
export interface Echo {
  readonly text: string;
  readonly tokenIds: readonly number[];
  /** Its tokens with their log-probabilities, when those were asked for. */
  readonly tokens: readonly ScoredToken[];
}

/** Reads a prompt back. With `logprobs` its tokens are scored under the same steering as what follows. */
export async function echoPrompt(job: Job, prompt: Prompt, logprobs: number | undefined, { backends, options }: Exchange): Promise<Echo> {
  const { model } = job;
  try {
    const { sequences } = await backends.inference.tokenize({ model, prompts: [prompt], withStrTokens: true }, options);
    const { tokenIds = [], strTokens = [] } = sequences[0] ?? {};
    const text = prompt.prompt?.case === "text" ? prompt.prompt.value : await detokenize();
    if (logprobs === undefined) return { text, tokenIds, tokens: [] };
    return { text, tokenIds, tokens: await score(strTokens) };

    async function detokenize(): Promise<string> {
      const { texts } = await backends.inference.detokenize({ model, sequences: [{ tokenIds: [...tokenIds] }], skipSpecialTokens: true }, options);
      return texts[0] ?? "";
    }

    async function score(strTokens: readonly string[]): Promise<ScoredToken[]> {
      const first: ScoredToken = { strToken: strTokens[0] ?? "", logprob: null, top: null };
      if (tokenIds.length < 2) return [first];
      const interventions = [...job.steering.interventions];
      const tokens = { tokenIds: [...tokenIds] };
      const likeliest = backends.inference.getLogits({ model, prompt: { prompt: { case: "tokens", value: tokens } }, positions: Array.from({ length: tokenIds.length - 1 }, (_, i) => i), topK: Math.max(1, logprobs ?? 0), interventions }, options);
      likeliest.catch(() => undefined);
      let scores: Float32Array | undefined;
      for await (const answer of backends.inference.scoreTokens({ model, sequences: [tokens], interventions }, options)) scores = f32View(answer.logprobs?.data ?? new Uint8Array());
      const { top } = await likeliest;
      if (scores?.length !== tokenIds.length - 1 || top.length !== scores.length) throw internal("SCORES_MISSING", "the inference service did not score the whole prompt");
      return [
        first,
        ...Array.from(scores, (logprob, i) => ({
          strToken: strTokens[i + 1] ?? "",
          logprob,
          top: (top[i]?.tokens ?? []).map((token) => ({ $typeName: "mistral_sae.common.v1.TokenLogprob" as const, tokenId: token.tokenId, strToken: token.strToken, logprob: token.logit - (top[i]?.logSumExp ?? 0) })),
        })),
      ];
    }
  } catch (error) {
    throw backends.explain(error, "inference");
  }
}

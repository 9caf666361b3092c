import type { MessageInitShape } from "@bufbuild/protobuf";
import type { LogprobSchema } from "@mistral-sae/contracts/mistral_sae/common/v1/sampling";
import type { StepResult } from "@mistral-sae/model";
import type { Tokenizer } from "@mistral-sae/tokenizer";

/** The `logprob` field of a step, when n log-probabilities were asked for. */
export function logprobFields(
  result: StepResult,
  row: number,
  n: number,
  tokenizer: Tokenizer,
): { readonly logprob?: MessageInitShape<typeof LogprobSchema> } {
  if (n === 0) return {};
  const token = result.tokens[row] ?? 0;
  const top = result.top[row];
  return {
    logprob: {
      chosen: { tokenId: token, logprob: result.logprobs[row] ?? Number.NaN, strToken: tokenizer.strToken(token) },
      top: Array.from(top?.tokens ?? [], (id, i) => ({
        tokenId: id,
        logprob: top?.logprobs[i] ?? Number.NaN,
        strToken: tokenizer.strToken(id),
      })),
    },
  };
}

import type { Logprob, TokenLogprob } from "@mistral-sae/contracts/mistral_sae/common/v1/sampling";

/** A token in a chat's logprobs. */
interface ChatToken {
  readonly token: string;
  readonly logprob: number;
  readonly bytes: readonly number[];
}

/** The logprobs of a chat's tokens; `top` is how many rivals were asked for. */
export function chatLogprobs(logprobs: readonly Logprob[], top: number) {
  return {
    content: logprobs.map(({ chosen, top: rivals }) => ({ ...chatToken(chosen), top_logprobs: rivals.slice(0, top).map(chatToken) })),
    refusal: null,
  };
}

function chatToken(token: TokenLogprob | undefined): ChatToken {
  const { strToken = "", logprob = 0 } = token ?? {};
  return { token: strToken, logprob, bytes: tokenBytes(strToken) };
}

/** The bytes of a token as it is shown: `<0xE2>` stands for a byte that is only part of a character. */
function tokenBytes(strToken: string): number[] {
  const parts = strToken.split(/(<0x[0-9A-F]{2}>)/);
  return parts.flatMap((part, i) => (i % 2 === 1 ? [Number.parseInt(part.slice(3, 5), 16)] : [...Buffer.from(part, "utf8")]));
}

/** A token of a completion; undefined values mark the first token of a prompt, which nothing predicts. */
export interface ScoredToken {
  readonly strToken: string;
  readonly logprob: number | null;
  readonly top: readonly TokenLogprob[] | null;
}

/** A token with its rivals. */
export function scoredToken({ chosen, top }: Logprob): ScoredToken {
  return { strToken: chosen?.strToken ?? "", logprob: chosen?.logprob ?? null, top: chosen === undefined ? top : [...top, chosen] };
}

/**
 * The logprobs of a completion's tokens. `from` is where in the text the first begins, in characters; the chosen token
 * is among its rivals even where it is none of the `top` likeliest.
 */
export function completionLogprobs(tokens: readonly ScoredToken[], top: number, from: number) {
  let offset = from;
  const offsets = tokens.map(({ strToken }) => {
    const at = offset;
    offset += characters(strToken);
    return at;
  });
  return {
    tokens: tokens.map(({ strToken }) => strToken),
    token_logprobs: tokens.map(({ logprob }) => logprob),
    top_logprobs: top === 0 ? null : tokens.map(({ top: rivals, strToken, logprob }) => (rivals === null ? null : { ...Object.fromEntries(rivals.slice(0, top).map((rival) => [rival.strToken, rival.logprob])), [strToken]: logprob })),
    text_offset: offsets,
  };
}

/** Length in code points, as Python's clients count. */
export function characters(text: string): number {
  return Array.from(text).length;
}

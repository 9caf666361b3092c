import { DataType, type SparseCode } from "@mistral-sae/contracts/mistral_sae/common/v1/tensor";
import type { PromptInput, TokenSequence } from "@mistral-sae/contracts/mistral_sae/common/v1/tokens";
import { internal, invalidArgument, matchName } from "@mistral-sae/rpc";
import { specialTokens } from "../corpus/tokenize.ts";
import type { Peers } from "../peers/peers.ts";

/** A text as an SAE reads it. */
export interface ReadText {
  readonly tokens: TokenSequence;
  /** One row a token. */
  readonly code: SparseCode;
}

/** Runs a prompt through the model to an SAE. @throws INVALID_ARGUMENT; the inference service's own errors. */
export async function readText(peers: Peers, field: string, prompt: PromptInput | undefined, sae: string, topK: number, signal: AbortSignal): Promise<ReadText> {
  if (prompt === undefined) throw invalidArgument(field, "is not set, wanted text, tokens or chat");
  const tokens = await tokenizePrompt(peers, field, prompt, sae, signal);
  return { tokens, code: await encodeTokens(peers, tokens, sae, topK, signal) };
}

/** A prompt as the tokens that the SAE's model reads. */
export async function tokenizePrompt(peers: Peers, field: string, prompt: PromptInput, sae: string, signal: AbortSignal): Promise<TokenSequence> {
  const ids = matchName("models/{model}/saes/{sae}", sae);
  if (ids === undefined) throw invalidArgument("sae", `got ${JSON.stringify(sae)}, wanted models/{model}/saes/{sae}`, "INVALID_NAME");
  const { sequences } = await peers.inference.tokenize({ model: `models/${ids.model}`, prompts: [prompt], withStrTokens: true }, { signal });
  const [tokens] = sequences;
  if (tokens === undefined || tokens.tokenIds.length === 0) throw invalidArgument(field, "got no token, wanted at least 1");
  return tokens;
}

/** The code of tokens, one row a token; at most `topK` features each, 0 for all. */
export async function encodeTokens(peers: Peers, { tokenIds }: TokenSequence, sae: string, topK: number, signal: AbortSignal): Promise<SparseCode> {
  const sequences = [{ tokenIds }];
  const request = async function* () {
    yield { sae, input: { case: "sequences", value: { sequences } } as const, activationDtype: DataType.F32, maxFeaturesPerToken: topK };
  };
  for await (const { code } of peers.saes.encode(request(), { signal })) {
    if (code === undefined || code.nTokens !== tokenIds.length) throw internal("ENCODE_ROWS", `got ${code?.nTokens ?? 0} rows of code, wanted ${tokenIds.length}`);
    return code;
  }
  throw internal("ENCODE_ENDED", "the encoder sent no code");
}

/** Positions of a text that count. @throws INVALID_ARGUMENT for positions outside it. */
export function countedPositions(tokens: TokenSequence, ignoreSpecial: boolean, tokenIndexes: readonly number[]): readonly number[] {
  for (const [i, index] of tokenIndexes.entries()) {
    if (index >= tokens.tokenIds.length) throw invalidArgument(`token_indexes[${i}]`, `got ${index}, wanted less than ${tokens.tokenIds.length}`);
  }
  const special = new Set(ignoreSpecial ? specialTokens(tokens) : []);
  const asked = new Set(tokenIndexes);
  return Array.from(tokens.tokenIds.keys()).filter((i) => !special.has(i) && (asked.size === 0 || asked.has(i)));
}

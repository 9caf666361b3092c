import { DataType, type SparseCode } from "@mistral-sae/contracts/mistral_sae/common/v1/tensor";
import type { PromptInput, TokenSequence } from "@mistral-sae/contracts/mistral_sae/common/v1/tokens";
import { internal, invalidArgument, matchName } from "@mistral-sae/rpc";
import { rowBounds, type SparseRows, unpackSparse, type WireSparseCodeInput } from "@mistral-sae/tensor";
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

/** How values over tokens become one. */
export type AggregateName = "max" | "mean" | "sum" | "count" | "last";

/** A feature's firings on a text, and what they come to. */
export interface TextFeature {
  readonly feature: number;
  readonly value: number;
  readonly positions: readonly number[];
  readonly values: readonly number[];
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

/** What each feature comes to over these positions, unordered. The mean is over all of them, silent ones included. */
export function aggregate(code: WireSparseCodeInput, positions: readonly number[], how: AggregateName): Map<number, TextFeature> {
  const rows = unpackSparse(code);
  const firings = new Map<number, { positions: number[]; values: number[] }>();
  for (const position of positions) collect(rows, position, firings);
  const last = positions.at(-1);
  return new Map(
    [...firings].map(([feature, found]) => [feature, { feature, ...found, value: oneValue(found.values, found.positions, how, positions.length, last) }]),
  );
}

function collect(rows: SparseRows, position: number, firings: Map<number, { positions: number[]; values: number[] }>): void {
  const [start, end] = rowBounds(rows, position);
  for (let pair = start; pair < end; pair++) {
    const feature = rows.indices[pair] as number;
    let found = firings.get(feature);
    if (found === undefined) firings.set(feature, (found = { positions: [], values: [] }));
    found.positions.push(position);
    found.values.push(rows.values[pair] as number);
  }
}

function oneValue(values: readonly number[], positions: readonly number[], how: AggregateName, nPositions: number, last: number | undefined): number {
  if (how === "count") return values.length;
  if (how === "last") return positions.at(-1) === last ? (values.at(-1) ?? 0) : 0;
  if (how === "max") return values.reduce((most, value) => Math.max(most, value), 0);
  const sum = values.reduce((total, value) => total + value, 0);
  return how === "sum" ? sum : sum / nPositions;
}

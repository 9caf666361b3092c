import { DataType, type SparseCode } from "@mistral-sae/contracts/mistral_sae/common/v1/tensor";
import type { PromptInput, TokenSequence } from "@mistral-sae/contracts/mistral_sae/common/v1/tokens";
import { internal, invalidArgument } from "@mistral-sae/rpc";
import { rowBounds, unpackSparse } from "@mistral-sae/tensor";
import { specialTokens } from "../corpus/tokenize.ts";
import type { Peers } from "../peers/peers.ts";

/** A feature on one text. */
export interface FeatureOnText {
  readonly tokens: TokenSequence;
  /** Where it fires, and how much. */
  readonly positions: number[];
  readonly values: number[];
  /** 0 where it does not fire. */
  readonly maxActivation: number;
}

// Texts that go to the encoder at a time, in tokens: their codes stay well below the largest message.
const CHUNK_TOKENS = 4_096;

/** What a feature does on texts, all of which go to the encoder in one call. @throws INVALID_ARGUMENT for a text without tokens. */
export async function testFeature(peers: Peers, model: string, sae: string, feature: number, prompts: readonly PromptInput[], includeSpecial: boolean, signal: AbortSignal): Promise<FeatureOnText[]> {
  const { sequences } = await peers.inference.tokenize({ model, prompts: [...prompts], withStrTokens: true }, { signal });
  const empty = prompts.findIndex((_, i) => (sequences[i]?.tokenIds.length ?? 0) === 0);
  if (empty >= 0) throw invalidArgument(`prompts[${empty}]`, "got no token, wanted at least 1");
  const found: FeatureOnText[] = [];
  const chunks = [...chunksOf(sequences)];
  const requests = async function* () {
    for (const [chunkId, chunk] of chunks.entries()) {
      yield { sae, chunkId: BigInt(chunkId), input: { case: "sequences", value: { sequences: chunk.map(({ tokenIds }) => ({ tokenIds })) } } as const, activationDtype: DataType.F32 };
    }
  };
  for await (const { chunkId, code } of peers.saes.encode(requests(), { signal })) found.push(...firingsOf(chunks[Number(chunkId)] ?? [], code, feature, includeSpecial));
  if (found.length !== prompts.length) throw internal("ENCODE_ENDED", `the encoder sent the codes of ${found.length} texts, wanted ${prompts.length}`);
  return found;
}

function* chunksOf(sequences: readonly TokenSequence[]): Iterable<readonly TokenSequence[]> {
  let chunk: TokenSequence[] = [];
  let tokens = 0;
  for (const sequence of sequences) {
    if (chunk.length > 0 && tokens + sequence.tokenIds.length > CHUNK_TOKENS) {
      yield chunk;
      chunk = [];
      tokens = 0;
    }
    chunk.push(sequence);
    tokens += sequence.tokenIds.length;
  }
  if (chunk.length > 0) yield chunk;
}

function firingsOf(chunk: readonly TokenSequence[], code: SparseCode | undefined, feature: number, includeSpecial: boolean): FeatureOnText[] {
  const nTokens = chunk.reduce((sum, { tokenIds }) => sum + tokenIds.length, 0);
  if (code === undefined || code.nTokens !== nTokens) throw internal("ENCODE_ROWS", `got ${code?.nTokens ?? 0} rows of code, wanted ${nTokens}`);
  const rows = unpackSparse(code);
  let row = 0;
  return chunk.map((tokens) => {
    const left = new Set(includeSpecial ? [] : specialTokens(tokens));
    const positions: number[] = [];
    const values: number[] = [];
    for (const position of tokens.tokenIds.keys()) {
      const [start, end] = rowBounds(rows, row++);
      const at = rows.indices.subarray(start, end).indexOf(feature);
      if (at < 0 || left.has(position)) continue;
      positions.push(position);
      values.push(rows.values[start + at] as number);
    }
    return { tokens, positions, values, maxActivation: values.reduce((most, value) => Math.max(most, value), 0) };
  });
}

import type { TokenSequence } from "@mistral-sae/contracts/mistral_sae/common/v1/tokens";
import type { IngestActivationsRequest } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import { invalidArgument } from "@mistral-sae/rpc";
import { InputError, pairViews, u16View, WIRE_DTYPE, type WireSparseCodeInput } from "@mistral-sae/tensor";
import { type BlockCode, blockCode } from "../blocks/block-code.ts";
import { specialTokens } from "../corpus/tokenize.ts";

/** What the chunks of an index must keep to. */
export interface ChunkRules {
  /** Tokens of the longest window. */
  readonly contextSize: number;
  readonly dVocab: number;
  readonly dSae: number;
  /** Ids that are special where a sequence does not say which of its tokens are. */
  readonly specialIds: ReadonlySet<number>;
}

/** A window of a chunk. */
export interface ChunkWindow {
  readonly docId: number;
  /** Source of its document; "" where none was named. */
  readonly source: string;
  readonly tokenIds: readonly number[];
  /** Indexes of its special tokens. */
  readonly special: readonly number[];
}

/** A chunk that can be stored. */
export interface Chunk {
  readonly windows: readonly ChunkWindow[];
  /** One row a token, window after window. Views, valid until the next chunk is read. */
  readonly code: BlockCode;
}

const LARGEST_U32 = 2 ** 32 - 1;
const LARGEST_BF16 = 0x7f7f;

/** Reads the chunks of one stream. */
export class ChunkReader {
  readonly #rules: ChunkRules;
  /** Number of the token that each feature came on last. */
  readonly #lastToken: Uint32Array;
  // A message's fields lie anywhere in it; one copy to where they are aligned, into memory that is used again.
  readonly #indices = new Scratch();
  readonly #acts = new Scratch();
  #tokens = 0;

  constructor(rules: ChunkRules) {
    this.#rules = rules;
    this.#lastToken = new Uint32Array(rules.dSae);
  }

  /** @throws INVALID_ARGUMENT with the path of the field at fault. */
  read({ sequences, docIds, dataSources, code }: IngestActivationsRequest): Chunk {
    if (docIds.length !== sequences.length) throw invalidArgument("doc_ids", `got ${docIds.length}, wanted one for each of ${sequences.length} sequences`);
    if (dataSources.length > 0 && dataSources.length !== sequences.length) throw invalidArgument("data_sources", `got ${dataSources.length}, wanted none or one for each of ${sequences.length} sequences`);
    const windows = sequences.map((sequence, i) => this.#window(i, sequence, docIds[i] as bigint, dataSources[i] ?? ""));
    const nTokens = windows.reduce((sum, { tokenIds }) => sum + tokenIds.length, 0);
    if (code === undefined) throw invalidArgument("code", `is not set, wanted the codes of ${nTokens} tokens`);
    if (code.nTokens !== nTokens) throw invalidArgument("code.n_tokens", `got ${code.nTokens}, wanted the ${nTokens} tokens of the sequences`);
    if (code.dSae !== this.#rules.dSae) throw invalidArgument("code.d_sae", `got ${code.dSae}, wanted ${this.#rules.dSae}, the width of the index's SAE`);
    const rows = readCode({ ...code, featureIndices: this.#indices.hold(code.featureIndices), activations: this.#acts.hold(code.activations) });
    this.#requireRows(rows);
    return { windows, code: rows };
  }

  #window(i: number, sequence: TokenSequence, docId: bigint, source: string): ChunkWindow {
    const { contextSize, dVocab, specialIds } = this.#rules;
    const { tokenIds, isSpecial } = sequence;
    const field = `sequences[${i}]`;
    if (docId > LARGEST_U32) throw invalidArgument(`doc_ids[${i}]`, `got ${docId}, wanted at most ${LARGEST_U32}`);
    if (tokenIds.length === 0 || tokenIds.length > contextSize) throw invalidArgument(`${field}.token_ids`, `got ${tokenIds.length} tokens, wanted 1 to ${contextSize}, the index's context_size`);
    for (let t = 0; t < tokenIds.length; t++) {
      if ((tokenIds[t] as number) >= dVocab) throw invalidArgument(`${field}.token_ids[${t}]`, `got ${tokenIds[t]}, wanted less than ${dVocab}`, "TOKEN_OUT_OF_VOCAB");
    }
    const bytes = Math.ceil(tokenIds.length / 8);
    if (isSpecial.length > 0 && isSpecial.length !== bytes) throw invalidArgument(`${field}.is_special`, `got ${isSpecial.length} bytes, wanted none or ${bytes}: one bit a token`);
    const special = isSpecial.length > 0 ? specialTokens(sequence) : specialAmong(tokenIds, specialIds);
    return { docId: Number(docId), source, tokenIds, special };
  }

  #requireRows({ nTokens, k, dSae, indices, acts, rowOffsets }: BlockCode): void {
    if (this.#tokens + nTokens > LARGEST_U32) {
      this.#lastToken.fill(0);
      this.#tokens = 0;
    }
    const lastToken = this.#lastToken;
    let i = 0;
    for (let row = 1; row <= nTokens; row++) {
      const token = ++this.#tokens;
      const end = rowOffsets === undefined ? row * k : (rowOffsets[row] as number);
      for (; i < end; i++) {
        const feature = indices[i] as number;
        const bits = acts[i] as number;
        if (feature >= dSae) throw invalidArgument(`code.feature_indices[${i}]`, `got ${feature}, wanted below ${dSae}`);
        if (bits === 0 || bits > LARGEST_BF16) throw invalidArgument(`code.activations[${i}]`, "is no positive number that bfloat16 holds; pairs without an activation are left out");
        if (lastToken[feature] === token) throw invalidArgument(`code.feature_indices[${i}]`, `feature ${feature} comes twice on token ${row - 1} of the chunk`);
        lastToken[feature] = token;
      }
    }
  }
}

function specialAmong(tokenIds: readonly number[], specialIds: ReadonlySet<number>): number[] {
  const special: number[] = [];
  for (let t = 0; t < tokenIds.length; t++) if (specialIds.has(tokenIds[t] as number)) special.push(t);
  return special;
}

/** Memory for one field's bytes. */
class Scratch {
  #bytes = new Uint8Array(0);

  /** A copy at an aligned address, valid until the next call. */
  hold(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
    if (bytes.length > this.#bytes.length) this.#bytes = new Uint8Array(bytes.length);
    this.#bytes.set(bytes);
    return this.#bytes.subarray(0, bytes.length);
  }
}

/** Indices of bfloat16 codes are not looked at yet. */
function readCode(code: WireSparseCodeInput): BlockCode {
  try {
    if (code.activationDtype !== WIRE_DTYPE.BF16) return blockCode(code);
    const pairs = pairViews(code);
    return { ...pairs, rowOffsets: pairs.rowOffsets, acts: u16View(code.activations) };
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    throw invalidArgument(`code.${error.field ?? ""}`, error.message);
  }
}

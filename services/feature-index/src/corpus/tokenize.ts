import type { TokenSequence } from "@mistral-sae/contracts/mistral_sae/common/v1/tokens";
import type { Document } from "@mistral-sae/corpus";
import { serverDefaults } from "@mistral-sae/rpc";
import { InputError } from "@mistral-sae/tensor";
import type { Peers } from "../peers/peers.ts";
import type { TokenizedDocument } from "./chunk.ts";

// A batch keeps the tokenizer's threads busy and stays far below the largest message.
const BATCH_DOCUMENTS = 256;
const BATCH_CHARACTERS = 256 << 10;
const BATCHES_IN_FLIGHT = 3;
const LONGEST_TEXT_BYTES = serverDefaults.maxReceiveBytes - 1_024;

/** Documents with their ids, in order; a few batches are on their way at a time. */
export async function* tokenizeDocuments(
  { inference }: Peers,
  model: string,
  documents: AsyncIterable<Document>,
  signal: AbortSignal,
): AsyncIterable<TokenizedDocument> {
  const ask = async (batch: readonly Document[]): Promise<readonly TokenizedDocument[]> => {
    const prompts = batch.map(({ text }) => ({ prompt: { case: "text", value: text }, prependBos: false }) as const);
    const { sequences } = await inference.tokenize({ model, prompts }, { signal });
    if (sequences.length !== batch.length) throw new Error(`got ${sequences.length} sequences of tokens, wanted one for each of ${batch.length} documents`);
    return batch.map((document, i) => {
      const sequence = sequences[i] as TokenSequence;
      return { document, ids: Uint32Array.from(sequence.tokenIds), special: specialTokens(sequence) };
    });
  };
  const pending: Promise<readonly TokenizedDocument[]>[] = [];
  try {
    for await (const batch of batches(documents)) {
      pending.push(ask(batch));
      if (pending.length >= BATCHES_IN_FLIGHT) yield* await (pending.shift() as Promise<readonly TokenizedDocument[]>);
    }
    while (pending.length > 0) yield* await (pending.shift() as Promise<readonly TokenizedDocument[]>);
  } finally {
    // Left early: what is still on its way ends with the signal, and its failure is no news.
    for (const batch of pending) batch.catch(() => undefined);
  }
}

/** Indexes of the special tokens of a sequence. */
export function specialTokens({ tokenIds, isSpecial }: Pick<TokenSequence, "tokenIds" | "isSpecial">): number[] {
  const special: number[] = [];
  for (let i = 0; i < tokenIds.length; i++) if ((((isSpecial[i >> 3] ?? 0) >> (i & 7)) & 1) === 1) special.push(i);
  return special;
}

/** @throws InputError for a text that no message can carry. */
function requireShort({ text, file, line }: Document): void {
  // No character takes more than three bytes for each of its UTF-16 units.
  const bytes = 3 * text.length <= LONGEST_TEXT_BYTES ? 0 : Buffer.byteLength(text);
  if (bytes > LONGEST_TEXT_BYTES) {
    throw new InputError(`the document at line ${line} is too long to be tokenised in one piece; cut it into several`, { file, field: "text", got: `${bytes} bytes`, wanted: `at most ${LONGEST_TEXT_BYTES}` });
  }
}

async function* batches(documents: AsyncIterable<Document>): AsyncIterable<readonly Document[]> {
  let batch: Document[] = [];
  let characters = 0;
  for await (const document of documents) {
    requireShort(document);
    if (batch.length > 0 && characters + document.text.length > BATCH_CHARACTERS) {
      yield batch;
      batch = [];
      characters = 0;
    }
    batch.push(document);
    characters += document.text.length;
    if (batch.length === BATCH_DOCUMENTS) {
      yield batch;
      batch = [];
      characters = 0;
    }
  }
  if (batch.length > 0) yield batch;
}

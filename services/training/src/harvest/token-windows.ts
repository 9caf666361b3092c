import { windowsOf, type Document } from "@mistral-sae/corpus";
import { serverDefaults } from "@mistral-sae/rpc";
import { InputError } from "@mistral-sae/tensor";
import { inFlight } from "../peer/in-flight.ts";
import type { InferencePeer } from "../peer/inference-peer.ts";
import type { Tokens, Window } from "../peer/tokens.ts";

/** A document's windows. */
export interface TokenizedDocument {
  readonly document: Document;
  readonly windows: readonly Window[];
}

/** How windows are made. */
export interface WindowOptions {
  readonly contextSize: number;
  readonly bosTokenId: number | undefined;
}

/** Text of one Tokenize request. */
const REQUEST_BYTES = 256 << 10;
/** Longest document: its request has to stay below what a service takes. */
const DOCUMENT_BYTES = serverDefaults.maxReceiveBytes - 1024;
const REQUEST_DOCUMENTS = 256;
const REQUESTS_IN_FLIGHT = 2;

/** Tokenises documents in their order, some requests ahead, and cuts them into windows. @throws InputError on a document that no request takes. */
export async function* tokenWindows(documents: AsyncIterable<Document>, peer: InferencePeer, options: WindowOptions): AsyncIterable<TokenizedDocument> {
  const replies = inFlight(documentBatches(documents), REQUESTS_IN_FLIGHT, async (batch) => ({ batch, tokens: await peer.tokenize(batch.map((document) => document.text)) }));
  for await (const { batch, tokens } of replies) {
    for (const [at, document] of batch.entries()) {
      const own = tokens[at];
      if (own !== undefined) yield { document, windows: windowsOfDocument(document.docId, own, options) };
    }
  }
}

/** BOS + window for each window of a document; BOS and special tokens are marked. */
export function windowsOfDocument(docId: number, tokens: Tokens, { contextSize, bosTokenId }: WindowOptions): Window[] {
  const bos = bosTokenId === undefined ? 0 : 1;
  const windows: Window[] = [];
  let position = 0;
  for (const part of windowsOf(tokens.ids, contextSize)) {
    const ids = new Uint32Array(part.length + bos);
    const special = new Uint8Array(ids.length);
    if (bosTokenId !== undefined) {
      ids[0] = bosTokenId;
      special[0] = 1;
    }
    ids.set(part, bos);
    if (tokens.special !== undefined) special.set(tokens.special.subarray(position, position + part.length), bos);
    windows.push({ ids, special, docId, bos, position });
    position += part.length;
  }
  return windows;
}

/** Documents in batches of one Tokenize request each. @throws InputError on a document that no request takes. */
export async function* documentBatches(documents: AsyncIterable<Document>): AsyncIterable<Document[]> {
  let batch: Document[] = [];
  let bytes = 0;
  for await (const document of documents) {
    const size = Buffer.byteLength(document.text);
    if (size > DOCUMENT_BYTES) {
      throw new InputError(`${document.file}:${document.line} is too long for one document`, {
        file: document.file,
        field: `line ${document.line}: text`,
        got: `${size} bytes`,
        wanted: `at most ${DOCUMENT_BYTES} bytes: cut it into several documents`,
      });
    }
    if (batch.length > 0 && (bytes + size > REQUEST_BYTES || batch.length === REQUEST_DOCUMENTS)) {
      yield batch;
      batch = [];
      bytes = 0;
    }
    batch.push(document);
    bytes += size;
  }
  if (batch.length > 0) yield batch;
}

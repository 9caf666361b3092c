import { createHash, type Hash } from "node:crypto";
import { createReadStream } from "node:fs";
import { basename } from "node:path";
import type { Corpus } from "./corpus.ts";
import { defaultCorpusFields } from "./document.ts";

/** Changes when the way documents are cut from files does, so that old fingerprints no longer match. */
const READER_VERSION = 1;

/**
 * Names a corpus by its content: hex SHA-256 over the reader's options and each file's name, size and bytes.
 * Equal fingerprints give equal documents in equal order, wherever the files lie.
 */
export async function corpusFingerprint(corpus: Corpus, signal?: AbortSignal): Promise<string> {
  const { textField, sourceField, maxDocuments, metadataFields = [] } = corpus.source;
  const hash = createHash("sha256");
  hash.update(JSON.stringify([READER_VERSION, textField ?? defaultCorpusFields.textField, sourceField ?? null, maxDocuments ?? 0, ...(metadataFields.length > 0 ? [metadataFields] : [])]));
  for (const file of corpus.files) {
    const content = createHash("sha256");
    const size = await addFile(content, file, signal);
    hash.update(JSON.stringify([basename(file), size, content.digest("hex")]));
  }
  return hash.digest("hex");
}

async function addFile(hash: Hash, file: string, signal?: AbortSignal): Promise<number> {
  let size = 0;
  for await (const chunk of createReadStream(file, { highWaterMark: 1 << 20, signal }) as AsyncIterable<Uint8Array>) {
    hash.update(chunk);
    size += chunk.length;
  }
  return size;
}

import { isHeldBack, openCorpus, type CorpusSource, type Document } from "@mistral-sae/corpus";

/** Which documents an evaluation reads. */
export interface EvaluationText {
  readonly corpus: CorpusSource;
  /** Every document instead of the held-back ones. */
  readonly allDocuments: boolean;
  /** Tokens to read, about. */
  readonly tokens: number;
}

/** A token has about this many characters; the choice of documents depends on it, the count of tokens does not. */
const CHARACTERS_A_TOKEN = 4;

/** The documents to evaluate on, spread over the whole corpus. */
export async function* evaluationDocuments(text: EvaluationText, signal: AbortSignal): AsyncIterable<Document> {
  yield* spreadDocuments(text.corpus, text.tokens, (document) => text.allDocuments || isHeldBack(document.text), signal);
}

/**
 * The documents that are wanted. When they hold text for more tokens than asked for, every n-th of them is taken, spread over the
 * whole corpus, so that no file's text stands for all.
 */
export async function* spreadDocuments(source: CorpusSource, tokens: number, wanted: (document: Document) => boolean, signal: AbortSignal): AsyncIterable<Document> {
  const corpus = await openCorpus(source);
  let characters = 0;
  for await (const document of corpus.documents(signal)) if (wanted(document)) characters += document.text.length;
  const every = Math.max(1, Math.floor(characters / (CHARACTERS_A_TOKEN * tokens)));
  let seen = 0;
  for await (const document of corpus.documents(signal)) {
    if (!wanted(document)) continue;
    if (seen % every === 0) yield document;
    seen += 1;
  }
}

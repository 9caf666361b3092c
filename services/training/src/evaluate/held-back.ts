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

/**
 * The documents to evaluate on. When there is text for more tokens than asked for, every n-th document is
 * taken, spread over the whole corpus, so that no file's text stands for all.
 */
export async function* evaluationDocuments(text: EvaluationText, signal: AbortSignal): AsyncIterable<Document> {
  const corpus = await openCorpus(text.corpus);
  const wanted = (document: Document): boolean => text.allDocuments || isHeldBack(document.text);
  let characters = 0;
  for await (const document of corpus.documents(signal)) if (wanted(document)) characters += document.text.length;
  const every = Math.max(1, Math.floor(characters / (CHARACTERS_A_TOKEN * text.tokens)));
  let seen = 0;
  for await (const document of corpus.documents(signal)) {
    if (!wanted(document)) continue;
    if (seen % every === 0) yield document;
    seen += 1;
  }
}

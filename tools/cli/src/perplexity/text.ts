import { isHeldBack, openCorpus, windowsOf } from "@mistral-sae/corpus";
import { loadTokenizer } from "@mistral-sae/tokenizer";
import { badInput } from "../output.ts";
import { corpusUri } from "../paths.ts";

/** Which text a model is measured on. */
export interface TextOptions {
  readonly corpus: readonly string[];
  /** Documents that training holds back, or all of them. */
  readonly all: boolean;
  /** Tokens of a sequence, BOS included. */
  readonly context: number;
  readonly maxTokens: number;
  readonly signal: AbortSignal;
}

/** Sequences of a model's tokens, each starting with BOS where the tokenizer has one, `maxTokens` of them at most. */
export async function readSequences(modelDir: string, options: TextOptions): Promise<Uint32Array[]> {
  const tokenizer = await loadTokenizer(modelDir);
  const corpus = await openCorpus({ uri: corpusUri(options.corpus) });
  const sequences: Uint32Array[] = [];
  let tokens = 0;
  for await (const { text } of corpus.documents(options.signal)) {
    if (tokens >= options.maxTokens) break;
    if (!options.all && !isHeldBack(text)) continue;
    const { ids } = await tokenizer.encode(text, { prependBos: false });
    for (const window of windowsOf(ids, options.context)) {
      const sequence = tokenizer.bosId === undefined ? window.slice() : Uint32Array.of(tokenizer.bosId, ...window);
      const kept = sequence.subarray(0, options.maxTokens - tokens);
      if (kept.length < 2) continue;
      sequences.push(kept);
      tokens += kept.length;
    }
  }
  if (sequences.length === 0) {
    throw badInput("there is no text to measure on", { field: "--corpus", got: `${corpus.stats.documents} documents, none of them held back`, wanted: "text of two tokens or more", hint: options.all ? "give more text" : "take all of it with --all" });
  }
  return sequences;
}

import { readSentencePiece } from "./sentencepiece.ts";
import type { TokenizerSource } from "./source.ts";
import { readTekken } from "./tekken.ts";
import { readTokenizerJson } from "./tokenizer-json.ts";

const READERS = { huggingface: readTokenizerJson, tekken: readTekken, sentencepiece: readSentencePiece } as const;

/** Whose format a tokenizer file has. */
export type FormatName = keyof typeof READERS;

/** Reads a tokenizer file on the thread that calls. @throws InputError naming file and field. */
export async function readFormat(format: FormatName, file: string): Promise<TokenizerSource> {
  return await READERS[format](file);
}

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { ChatMessage } from "../src/index.ts";

/** What sentencepiece, tiktoken and mistral-common make of texts and conversations (tools/check/python/tokenizer_golden.py). */
export interface FormatGolden {
  readonly file: string;
  readonly size: number;
  readonly texts: readonly { readonly text: string; readonly ids: readonly number[]; readonly decoded: string }[];
  /** `ids` is null where mistral-common refuses the messages. */
  readonly conversations: readonly { readonly messages: ChatMessage[]; readonly ids: readonly number[] | null }[];
}

export const fixture = (name: string): string => fileURLToPath(new URL(`fixtures/${name}`, import.meta.url));

export const formatGolden = JSON.parse(readFileSync(fixture("formats.json"), "utf8")) as Readonly<Record<string, FormatGolden>>;

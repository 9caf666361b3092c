import type { BpeModel } from "../bpe/model.ts";
import type { VocabularyTable } from "../vocabulary.ts";
import type { Frame } from "./frame.ts";

/** Mistral's instruct formats: what stands around a conversation's turns. Those after v7 differ only in tools. */
export type InstructVersion = "v1" | "v2" | "v3" | "v7";

/** Control tokens by their text. */
export interface ControlTokens {
  readonly bosToken: string | undefined;
  readonly eosToken: string | undefined;
  readonly unkToken: string | undefined;
  readonly padToken: string | undefined;
}

/** What a tokenizer file says, whatever its format: plain data, so that one thread can read it for another. */
export interface TokenizerSource {
  readonly model: BpeModel;
  readonly vocabulary: VocabularyTable;
  /** Spaces that encoding puts before a text and decoding takes away. */
  readonly leadingSpaces: number;
  /** Ids that the file wants before a text, BOS as a rule, and after it. */
  readonly frame: Frame;
  /** What holds where tokenizer_config.json is silent. */
  readonly controls: ControlTokens;
  /** The format of conversations where no chat template says otherwise. */
  readonly instruct: InstructVersion | undefined;
}

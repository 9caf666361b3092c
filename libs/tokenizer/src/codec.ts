import { BpeEncoder } from "./bpe/encoder.ts";
import type { Frame } from "./formats/frame.ts";
import type { ControlTokens, InstructVersion, TokenizerSource } from "./formats/source.ts";
import { encodeTexts } from "./thread/encode-texts.ts";
import type { EncoderThread } from "./thread/encoder-thread.ts";
import type { EncodedText, EncodeMode } from "./thread/protocol.ts";
import { Vocabulary } from "./vocabulary.ts";

/** Texts of so many UTF-16 units together are encoded where the call is made: well below a millisecond. */
const SHORT = 1 << 11;

/**
 * The part of a tokenizer that a tokenizer file decides: text to ids, and what each id stands for. Everything else
 * (BOS, chat templates, detokenising) is built on it once, in Tokenizer.
 */
export class Codec {
  readonly vocabulary: Vocabulary;
  /** Spaces that encoding puts before a text and decoding takes away. */
  readonly leadingSpaces: number;
  /** Ids that the file wants before a text, BOS as a rule, and after it. */
  readonly frame: Frame;
  readonly controls: ControlTokens;
  readonly instruct: InstructVersion | undefined;
  readonly #encoder: BpeEncoder;
  readonly #thread: EncoderThread;

  constructor(source: TokenizerSource, thread: EncoderThread) {
    this.vocabulary = new Vocabulary(source.vocabulary);
    this.leadingSpaces = source.leadingSpaces;
    this.frame = source.frame;
    this.controls = source.controls;
    this.instruct = source.instruct;
    this.#encoder = new BpeEncoder(source.model);
    this.#thread = thread;
  }

  /** Encodes texts without the frame; long ones off the calling thread. @throws InputError. */
  async encode(texts: readonly string[], mode: EncodeMode, signal?: AbortSignal): Promise<readonly EncodedText[]> {
    let length = 0;
    for (const text of texts) length += text.length;
    return length <= SHORT ? encodeTexts(this.#encoder, texts, mode) : await this.#thread.encode(texts, mode, signal);
  }
}

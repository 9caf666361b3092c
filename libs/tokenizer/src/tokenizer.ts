import { InputError } from "@mistral-sae/tensor";
import { instructParts } from "./chat/instruct.ts";
import type { ChatMessage, RoleSpan } from "./chat/messages.ts";
import { contentSpans, roleSpans } from "./chat/spans.ts";
import { ChatTemplate } from "./chat/template.ts";
import type { Codec } from "./codec.ts";
import { Detokenizer } from "./detokenizer.ts";
import type { Frame } from "./formats/frame.ts";
import type { InstructVersion } from "./formats/source.ts";
import { type DecodeOptions, decodeIds, strToken } from "./text.ts";
import type { TokenizerConfig } from "./tokenizer-config.ts";
import type { Vocabulary } from "./vocabulary.ts";

/** Token ids of one text. */
export interface TokenIds {
  readonly ids: Uint32Array;
  /** One bit a token, least significant first: set for special tokens. */
  readonly isSpecial: Uint8Array;
}

/** A rendered and tokenised conversation. */
export interface ChatTokens extends TokenIds {
  /** The rendered text behind the ids. */
  readonly text: string;
  /** Which positions hold what each role wrote, control tokens left out. */
  readonly spans: readonly RoleSpan[];
}

export interface EncodeOptions {
  /**
   * Put BOS before the text; undefined does what the tokenizer does by itself. A text that spells BOS at its start has
   * it already and gets no second one.
   */
  readonly prependBos?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Texts that go to the encoder at once: large enough to keep it busy, small enough to let others in between. */
const GROUP_CHARACTERS = 1 << 17;

/** A tokenizer of any file format, with one handling of BOS, special tokens and chats. */
export class Tokenizer {
  readonly vocabulary: Vocabulary;
  readonly bosId: number | undefined;
  readonly eosId: number | undefined;
  /** Whether plain text gets BOS unless told otherwise. */
  readonly addsBos: boolean;
  readonly #codec: Codec;
  readonly #template: ChatTemplate | undefined;
  readonly #instruct: InstructVersion | undefined;

  /** @throws InputError for a chat template that cannot be parsed. */
  constructor(codec: Codec, config: TokenizerConfig) {
    const { controls, frame } = codec;
    const tokens = {
      bosToken: config.bosToken ?? controls.bosToken,
      eosToken: config.eosToken ?? controls.eosToken,
      unkToken: config.unkToken ?? controls.unkToken,
      padToken: config.padToken ?? controls.padToken,
    };
    this.#codec = codec;
    this.vocabulary = codec.vocabulary;
    this.bosId = tokens.bosToken === undefined ? undefined : codec.vocabulary.idOf(tokens.bosToken);
    this.eosId = tokens.eosToken === undefined ? undefined : codec.vocabulary.idOf(tokens.eosToken);
    this.addsBos = this.bosId !== undefined && (frame.prefix[0] === this.bosId ? config.addBosToken !== false : config.addBosToken === true);
    this.#template = config.chatTemplate === undefined ? undefined : new ChatTemplate(config.chatTemplate, { ...config, ...tokens });
    this.#instruct = this.bosId === undefined || this.eosId === undefined ? undefined : codec.instruct;
  }

  /** Whether conversations can be tokenised: by a chat template of the model's folder, or Mistral's instruct format. */
  get hasChatTemplate(): boolean {
    return this.#template !== undefined || this.#instruct !== undefined;
  }

  /** The ids of a text. @throws InputError when BOS is asked for and the tokenizer has none. */
  async encode(text: string, options: EncodeOptions = {}): Promise<TokenIds> {
    const [encoded] = await this.encodeBatch([text], options);
    return encoded as TokenIds;
  }

  /** The ids of texts, computed off the calling thread group by group. */
  async encodeBatch(texts: readonly string[], options: EncodeOptions = {}): Promise<TokenIds[]> {
    const { prependBos, signal } = options;
    if (prependBos === true && this.bosId === undefined) {
      throw new InputError("prepend_bos: the tokenizer has no BOS token", {
        field: "prepend_bos",
        got: "true",
        wanted: "false or unset",
      });
    }
    const frame = this.#frameOf(prependBos);

    const results: TokenIds[] = [];
    let pending: Promise<TokenIds[]> | undefined;
    for (let from = 0; from < texts.length; ) {
      signal?.throwIfAborted();
      let to = from;
      for (let size = 0; to < texts.length && (to === from || size < GROUP_CHARACTERS); to++) size += texts[to]?.length ?? 0;
      const next = this.#encodeGroup(texts.slice(from, to), frame, signal);
      next.catch(() => undefined);
      if (pending !== undefined) for (const tokens of await pending) results.push(tokens);
      pending = next;
      from = to;
    }
    if (pending !== undefined) for (const tokens of await pending) results.push(tokens);
    return results;
  }

  /** What goes around a text: the file's own frame with BOS put in or taken out as asked. */
  #frameOf(prependBos: boolean | undefined): Frame {
    const { prefix, suffix } = this.#codec.frame;
    const { bosId } = this;
    const begins = bosId !== undefined && prefix[0] === bosId;
    const wanted = prependBos ?? this.addsBos;
    if (wanted === begins || bosId === undefined) return { prefix, suffix };
    return { prefix: wanted ? [bosId, ...prefix] : prefix.slice(1), suffix };
  }

  async #encodeGroup(texts: readonly string[], frame: Frame, signal: AbortSignal | undefined): Promise<TokenIds[]> {
    const encoded = await this.#codec.encode(texts, { plain: false, spans: false }, signal);
    return encoded.map(({ ids }) => {
      // BOS once: a text may spell it itself.
      const spelled = this.bosId !== undefined && ids[0] === this.bosId && frame.prefix[0] === this.bosId;
      const prefix = spelled ? frame.prefix.slice(1) : frame.prefix;
      if (prefix.length + frame.suffix.length === 0) return this.tokens(ids);
      const start = spelled ? 1 : 0;
      const all = new Uint32Array(prefix.length + ids.length + frame.suffix.length);
      all.set(ids.subarray(0, start));
      all.set(prefix, start);
      all.set(ids.subarray(start), start + prefix.length);
      all.set(frame.suffix, prefix.length + ids.length);
      return this.tokens(all);
    });
  }

  /** Given ids with their special tokens marked. */
  tokens(ids: Uint32Array): TokenIds {
    return { ids, isSpecial: this.vocabulary.specialBits(ids) };
  }

  /**
   * Tokenises a conversation: by the chat template of the model's folder, which alone decides about BOS, or else in
   * Mistral's instruct format. A template's text is tokenised as a whole, so that a content which spells a control token
   * becomes one, as in transformers; the instruct format keeps contents apart, as mistral-common does.
   *
   * @throws InputError when there is neither, or it refuses the messages.
   */
  async chat(messages: readonly ChatMessage[], addGenerationPrompt = true): Promise<ChatTokens> {
    if (messages.length === 0) {
      throw new InputError("messages: a conversation needs at least one", { field: "messages", got: "0", wanted: "1 or more" });
    }
    if (this.#template === undefined) return await this.#instructChat(messages);
    const text = this.#template.render(messages, addGenerationPrompt);
    const [encoded] = await this.#codec.encode([text], { plain: false, spans: true });
    const { ids, offsets } = encoded as { ids: Uint32Array; offsets: Uint32Array };
    return { ...this.tokens(ids), text, spans: roleSpans(contentSpans(text, messages), offsets) };
  }

  async #instructChat(messages: readonly ChatMessage[]): Promise<ChatTokens> {
    if (this.#instruct === undefined) {
      throw new InputError("chat: the model's tokenizer has no chat template; send text or token ids", {
        field: "chat",
        wanted: "text or token ids",
      });
    }
    const { vocabulary } = this;
    const parts = instructParts(this.#instruct, messages, { bos: strToken(vocabulary, this.bosId ?? 0), eos: strToken(vocabulary, this.eosId ?? 0) });
    const texts = parts.flatMap((part) => (part.kind === "text" ? [part.text] : []));
    const encoded = await this.#codec.encode(texts, { plain: true, spans: true });
    const ids: number[] = [];
    const spans: RoleSpan[] = [];
    let at = 0;
    for (const part of parts) {
      if (part.kind === "control") {
        ids.push(vocabulary.idOf(part.token) ?? 0);
        continue;
      }
      const { ids: tokens, offsets } = encoded[at++] as { ids: Uint32Array; offsets: Uint32Array };
      spans.push(...roleSpans(part.written, offsets, ids.length));
      for (const token of tokens) ids.push(token);
    }
    const text = parts.map((part) => (part.kind === "text" ? part.text : part.token)).join("");
    return { ...this.tokens(Uint32Array.from(ids)), text, spans };
  }

  /** The text of ids. */
  decode(ids: ArrayLike<number>, options: Partial<DecodeOptions> = {}): string {
    return decodeIds(this.vocabulary, ids, this.#codec.leadingSpaces, options);
  }

  /** The text of each token alone, as shown to people. */
  strTokens(ids: ArrayLike<number>): string[] {
    return Array.from(ids, (id) => strToken(this.vocabulary, id));
  }

  /** The text of one token alone, as shown to people. */
  strToken(id: number): string {
    return strToken(this.vocabulary, id);
  }

  /** Text of ids that arrive one by one. */
  detokenizer(options: Partial<DecodeOptions> = {}): Detokenizer {
    const leading = options.continuation === true ? 0 : this.#codec.leadingSpaces;
    return new Detokenizer(this.vocabulary, leading, options.skipSpecial === true);
  }
}

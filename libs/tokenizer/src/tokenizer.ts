import { InputError } from "@mistral-sae/tensor";
import { type ChatMessage, type RoleSpan, roleSpans } from "./chat.ts";
import { ChatTemplate } from "./chat-template.ts";
import type { TokenCodec } from "./codec.ts";
import { Detokenizer } from "./detokenizer.ts";
import type { Frame } from "./hf-template.ts";
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
  /** Put BOS before the text; undefined does what the tokenizer does by itself. */
  readonly prependBos?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Texts that go to the native encoder at once: large enough to keep it busy, small enough to yield between. */
const GROUP_CHARACTERS = 1 << 17;

/** A tokenizer of any file format, with one handling of BOS, special tokens and chats. */
export class Tokenizer {
  readonly vocabulary: Vocabulary;
  readonly bosId: number | undefined;
  readonly eosId: number | undefined;
  /** Whether plain text gets BOS unless told otherwise. */
  readonly addsBos: boolean;
  readonly #codec: TokenCodec;
  readonly #template: ChatTemplate | undefined;

  constructor(codec: TokenCodec, config: TokenizerConfig) {
    this.#codec = codec;
    this.vocabulary = codec.vocabulary;
    this.bosId = config.bosToken === undefined ? undefined : codec.idOf(config.bosToken);
    this.eosId = config.eosToken === undefined ? undefined : codec.idOf(config.eosToken);
    this.addsBos =
      this.bosId !== undefined && (codec.frame.prefix[0] === this.bosId ? config.addBosToken !== false : config.addBosToken === true);
    this.#template = config.chatTemplate === undefined ? undefined : new ChatTemplate(config.chatTemplate, config);
  }

  get hasChatTemplate(): boolean {
    return this.#template !== undefined;
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
      const next = this.#encodeGroup(texts.slice(from, to), frame);
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

  async #encodeGroup(texts: readonly string[], { prefix, suffix }: Frame): Promise<TokenIds[]> {
    const encoded = await this.#codec.encode(texts, { offsets: false });
    return encoded.map(({ ids }) => {
      if (prefix.length + suffix.length === 0) return this.tokens(ids);
      const all = new Uint32Array(prefix.length + ids.length + suffix.length);
      all.set(prefix);
      all.set(ids, prefix.length);
      all.set(suffix, prefix.length + ids.length);
      return this.tokens(all);
    });
  }

  /** Given ids with their special tokens marked. */
  tokens(ids: Uint32Array): TokenIds {
    return { ids, isSpecial: this.vocabulary.specialBits(ids) };
  }

  /**
   * Renders a conversation by the chat template and tokenises it; the template alone decides about BOS.
   *
   * @throws InputError when there is no template, or it refuses the messages.
   */
  async chat(messages: readonly ChatMessage[], addGenerationPrompt = true): Promise<ChatTokens> {
    if (this.#template === undefined) {
      throw new InputError("chat: the model's tokenizer has no chat template; send text or token ids", {
        field: "chat",
        wanted: "text or token ids",
      });
    }
    if (messages.length === 0) {
      throw new InputError("messages: a conversation needs at least one", { field: "messages", got: "0", wanted: "1 or more" });
    }
    const text = this.#template.render(messages, addGenerationPrompt);
    const [encoded] = await this.#codec.encode([text], { offsets: true });
    const { ids, offsets } = encoded as { ids: Uint32Array; offsets: Uint32Array };
    return { ...this.tokens(ids), text, spans: roleSpans(text, messages, offsets) };
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

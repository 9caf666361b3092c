import { type ChatMessages, ChatRole, type PromptInput, type TokenSequence } from "@mistral-sae/contracts/mistral_sae/common/v1/tokens";
import { invalidArgument } from "@mistral-sae/rpc";
import type { ChatMessage, ChatTokens, RoleSpan, TokenIds, Tokenizer } from "@mistral-sae/tokenizer";

/** A prompt as the model reads it. */
export interface Prompt extends TokenIds {
  /** Positions that each role wrote; undefined for prompts that are no conversation. */
  readonly spans: readonly RoleSpan[] | undefined;
}

/** What reading a prompt needs to know of the model. */
export interface PromptReader {
  readonly tokenizer: Tokenizer;
  /** Ids are below it. */
  readonly dVocab: number;
  /** A prompt has at most so many tokens. */
  readonly nCtx: number;
}

const ROLE_NAMES: Readonly<Record<number, ChatMessage["role"]>> = {
  [ChatRole.SYSTEM]: "system",
  [ChatRole.USER]: "user",
  [ChatRole.ASSISTANT]: "assistant",
  [ChatRole.TOOL]: "tool",
};

/** The wire's number of a role. */
export const ROLE_NUMBERS: Readonly<Record<ChatMessage["role"], ChatRole>> = {
  system: ChatRole.SYSTEM,
  user: ChatRole.USER,
  assistant: ChatRole.ASSISTANT,
  tool: ChatRole.TOOL,
};

/** Ids of a request, used as they are. @throws INVALID_ARGUMENT TOKEN_OUT_OF_VOCAB or TOKEN_LIMIT. */
export function readTokens(field: string, sequence: TokenSequence | undefined, reader: PromptReader): TokenIds {
  const ids = sequence?.tokenIds ?? [];
  if (ids.length === 0) throw invalidArgument(`${field}.token_ids`, "got no token, wanted at least 1");
  requireLength(field, ids.length, reader.nCtx);
  for (const [i, id] of ids.entries()) {
    if (id >= reader.dVocab) {
      throw invalidArgument(`${field}.token_ids[${i}]`, `got ${id}, wanted less than ${reader.dVocab}`, "TOKEN_OUT_OF_VOCAB");
    }
  }
  return reader.tokenizer.tokens(Uint32Array.from(ids));
}

/** @throws INVALID_ARGUMENT TOKEN_LIMIT. */
export function requireLength(field: string, tokens: number, nCtx: number): void {
  if (tokens > nCtx) throw invalidArgument(field, `got ${tokens} tokens, wanted at most ${nCtx}, the model's context`, "TOKEN_LIMIT");
}

/** Tokenises prompts together; the work runs off the calling thread. */
export async function readPrompts(
  field: (index: number) => string,
  prompts: readonly PromptInput[],
  reader: PromptReader,
  signal?: AbortSignal,
): Promise<Prompt[]> {
  const results = Array.from<Prompt | undefined>({ length: prompts.length });
  const texts = new Map<boolean | undefined, number[]>();
  for (const [i, { prompt, prependBos }] of prompts.entries()) {
    if (prompt.case !== "text" && prependBos !== undefined) {
      throw invalidArgument(`${field(i)}.prepend_bos`, `got ${prependBos}, wanted it unset: ids and chats are never touched`);
    }
    if (prompt.case === "text") {
      requireShortText(`${field(i)}.text`, prompt.value, reader);
      const group = texts.get(prependBos) ?? [];
      texts.set(prependBos, group);
      group.push(i);
    } else if (prompt.case === "tokens") {
      results[i] = { ...readTokens(`${field(i)}.tokens`, prompt.value, reader), spans: undefined };
    } else if (prompt.case === "chat") {
      requireShortText(`${field(i)}.chat`, prompt.value.messages.map(({ content }) => content).join(""), reader);
      const chat = await renderChat(`${field(i)}.chat`, prompt.value, reader.tokenizer);
      requireLength(`${field(i)}.chat`, chat.ids.length, reader.nCtx);
      results[i] = chat;
    } else {
      throw invalidArgument(field(i), "is not set, wanted text, tokens or chat");
    }
  }
  for (const [prependBos, indices] of texts) {
    const encoded = await reader.tokenizer.encodeBatch(
      indices.map((i) => prompts[i]?.prompt.value as string),
      { prependBos, signal },
    );
    for (const [j, i] of indices.entries()) {
      const tokens = encoded[j] as TokenIds;
      if (tokens.ids.length === 0) throw invalidArgument(`${field(i)}.text`, "is empty and gets no BOS, wanted at least 1 token");
      requireLength(`${field(i)}.text`, tokens.ids.length, reader.nCtx);
      results[i] = { ...tokens, spans: undefined };
    }
  }
  return results as Prompt[];
}

/** One prompt. */
export async function readPrompt(field: string, prompt: PromptInput | undefined, reader: PromptReader, signal?: AbortSignal): Promise<Prompt> {
  if (prompt === undefined) throw invalidArgument(field, "is not set, wanted text, tokens or chat");
  const [read] = await readPrompts(() => field, [prompt], reader, signal);
  return read as Prompt;
}

/** A text that cannot fit, however it is cut, is refused before the work of cutting it. */
function requireShortText(field: string, text: string, { nCtx, tokenizer }: PromptReader): void {
  const most = nCtx * tokenizer.vocabulary.longest;
  if (text.length > most) {
    throw invalidArgument(field, `got ${text.length} characters, which is more than ${nCtx} tokens, the model's context, can hold`, "TOKEN_LIMIT");
  }
}

/** A conversation through the chat template. */
export async function renderChat(field: string, chat: ChatMessages, tokenizer: Tokenizer): Promise<ChatTokens> {
  const messages = chat.messages.map(({ role, content }, i) => {
    const name = ROLE_NAMES[role];
    if (name === undefined) throw invalidArgument(`${field}.messages[${i}].role`, `got ${role}, wanted SYSTEM, USER, ASSISTANT or TOOL`);
    return { role: name, content };
  });
  return tokenizer.chat(messages, chat.addGenerationPrompt ?? true);
}

/** A TokenSequence message's fields. */
export function tokenSequence(tokens: TokenIds, tokenizer?: Tokenizer): { tokenIds: number[]; strTokens: string[]; isSpecial: Uint8Array } {
  return {
    tokenIds: Array.from(tokens.ids),
    strTokens: tokenizer === undefined ? [] : tokenizer.strTokens(tokens.ids),
    isSpecial: tokens.isSpecial,
  };
}

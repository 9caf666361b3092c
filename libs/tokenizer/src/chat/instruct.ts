import { InputError } from "@mistral-sae/tensor";
import type { InstructVersion } from "../formats/source.ts";
import type { ChatMessage, ChatRole } from "./messages.ts";

/** A part of a conversation as the model reads it: a control token, or text in which nothing is a control token. */
export type ChatPart =
  | { readonly kind: "control"; readonly token: string }
  | { readonly kind: "text"; readonly text: string; readonly written: readonly TextSpan[] };

/** A part of a text in UTF-16 units, [start, end), and who wrote it. */
export interface TextSpan {
  readonly role: ChatRole;
  readonly start: number;
  readonly end: number;
}

/** Control tokens that open and close a conversation's turns. */
export interface TurnTokens {
  readonly bos: string;
  readonly eos: string;
}

/** Between messages that become one. */
const BREAK = "\n\n";

/**
 * A conversation in Mistral's instruct format, as mistral-common makes it:
 *
 * - v1: the markers are text, `<s>` `[INST] user [/INST]` `answer` `</s>`; the system prompt opens the first user turn;
 * - v2, v3: `<s>[INST]` `user` `[/INST]` `answer` `</s>`; the system prompt opens the last user turn;
 * - v7: `[SYSTEM_PROMPT]` `system` `[/SYSTEM_PROMPT]` stands where the system message does.
 *
 * Each part is tokenised alone, so that SentencePiece puts its space before it. Messages of one role that follow one
 * another become one with an empty line between them.
 *
 * @throws InputError for a conversation that the format cannot hold.
 */
export function instructParts(version: InstructVersion, messages: readonly ChatMessage[], tokens: TurnTokens): ChatPart[] {
  const turns = turnsOf(messages, version === "v7");
  const system = version === "v7" ? "" : joined(messages.filter(({ role }) => role === "system"));
  const carries = version === "v1" ? turns.findIndex(isUser) : turns.findLastIndex(isUser);
  const parts: ChatPart[] = [control(tokens.bos)];
  for (const [i, { role, content }] of turns.entries()) {
    if (role === "user") {
      const texts = [...(i === carries && system !== "" ? [["system", system] as const] : []), ["user", content] as const];
      if (version === "v1") parts.push(text("[INST] ", texts, " [/INST]"));
      else parts.push(control("[INST]"), text("", texts, ""), control("[/INST]"));
    } else if (role === "system") {
      parts.push(control("[SYSTEM_PROMPT]"), text("", [[role, content]], ""), control("[/SYSTEM_PROMPT]"));
    } else {
      parts.push(text("", [[role, version === "v1" ? content : content.replace(/ +$/, "")]], ""), control(tokens.eos));
    }
  }
  return parts;
}

function turnsOf(messages: readonly ChatMessage[], withSystem: boolean): ChatMessage[] {
  const turns: ChatMessage[] = [];
  for (const [i, message] of messages.entries()) {
    if (message.role === "tool") throw refused(i, "tool", "system, user or assistant: tools need a chat template");
    if (message.role === "system" && messages[i - 1]?.role === "assistant") throw refused(i, "a system message after an answer", "it at the start or beside a user message");
    if (message.role === "system" && !withSystem) continue;
    if (message.role === "assistant" && message.content === "") throw refused(i, "an empty answer", "text");
    const last = turns.at(-1);
    if (last !== undefined && messages[i - 1]?.role === message.role) turns[turns.length - 1] = { role: last.role, content: joined([last, message]) };
    else turns.push(message);
  }
  const first = turns.findIndex(({ role }) => role !== "system");
  if (turns[first]?.role !== "user") throw refused(Math.max(0, messages.findIndex(({ role }) => role === "assistant")), turns[first]?.role ?? "no user message", "a user message first");
  return turns;
}

function refused(at: number, got: string, wanted: string): InputError {
  return new InputError("messages: do not fit the model's instruct format", { field: `messages[${at}]`, got, wanted });
}

function isUser({ role }: ChatMessage): boolean {
  return role === "user";
}

function joined(messages: readonly ChatMessage[]): string {
  return messages.map(({ content }) => content).filter((content) => content !== "").join(BREAK);
}

function control(token: string): ChatPart {
  return { kind: "control", token };
}

function text(before: string, texts: readonly (readonly [ChatRole, string])[], after: string): ChatPart {
  let all = before;
  const written: TextSpan[] = [];
  for (const [i, [role, content]] of texts.entries()) {
    if (i > 0) all += BREAK;
    written.push({ role, start: all.length, end: all.length + content.length });
    all += content;
  }
  return { kind: "text", text: all + after, written };
}

import type { TextSpan } from "./instruct.ts";
import type { ChatMessage, RoleSpan } from "./messages.ts";

/**
 * Finds each message's content in the rendered conversation, in order. Templates may trim a content; one that changes
 * it otherwise leaves that message without a span.
 */
export function contentSpans(rendered: string, messages: readonly ChatMessage[]): TextSpan[] {
  const spans: TextSpan[] = [];
  let from = 0;
  for (const { role, content } of messages) {
    for (const text of [content, content.trim()]) {
      const start = text === "" ? -1 : rendered.indexOf(text, from);
      if (start < 0) continue;
      from = start + text.length;
      spans.push({ role, start, end: from });
      break;
    }
  }
  return spans;
}

/**
 * The tokens that overlap each span.
 *
 * @param offsets [start, end) of each token in UTF-16 units of the text, two entries a token.
 * @param first position of the text's first token.
 */
export function roleSpans(written: readonly TextSpan[], offsets: Uint32Array, first = 0): RoleSpan[] {
  const spans: RoleSpan[] = [];
  const count = offsets.length / 2;
  let token = 0;
  for (const { role, start: from, end: to } of written) {
    while (token < count && offsets[2 * token + 1]! <= from) token++;
    const start = token;
    while (token < count && offsets[2 * token]! < to) token++;
    if (token > start) spans.push({ role, start: first + start, end: first + token });
  }
  return spans;
}

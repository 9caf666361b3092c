/** Who speaks. */
export type ChatRole = "system" | "user" | "assistant" | "tool";

/** One turn of a conversation. */
export interface ChatMessage {
  readonly role: ChatRole;
  readonly content: string;
}

/** Positions [start, end) whose tokens hold what one role wrote. */
export interface RoleSpan {
  readonly role: ChatRole;
  readonly start: number;
  readonly end: number;
}

/** A part of a text in UTF-16 units, [start, end), and who wrote it. */
interface TextSpan {
  readonly role: ChatRole;
  readonly start: number;
  readonly end: number;
}

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
 * @param offsets [start, end) of each token in code points of `rendered`, two entries a token.
 */
export function roleSpans(rendered: string, messages: readonly ChatMessage[], offsets: Uint32Array): RoleSpan[] {
  const codePointsBefore = codePointIndex(rendered);
  const spans: RoleSpan[] = [];
  let token = 0;
  for (const span of contentSpans(rendered, messages)) {
    const from = codePointsBefore(span.start);
    const to = codePointsBefore(span.end);
    while (token < offsets.length / 2 && (offsets[2 * token + 1] ?? 0) <= from) token++;
    const start = token;
    while (token < offsets.length / 2 && (offsets[2 * token] ?? 0) < to) token++;
    if (token > start) spans.push({ role: span.role, start, end: token });
  }
  return spans;
}

/** Code points before a UTF-16 index; to be asked in ascending order. */
function codePointIndex(text: string): (utf16: number) => number {
  let at = 0;
  let points = 0;
  return (utf16) => {
    while (at < utf16) {
      at += (text.codePointAt(at) ?? 0) > 0xffff ? 2 : 1;
      points += 1;
    }
    return points;
  };
}

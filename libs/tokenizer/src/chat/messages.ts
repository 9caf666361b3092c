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

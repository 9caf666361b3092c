export type { ChatMessage, ChatRole, RoleSpan } from "./chat/messages.ts";
export type { Detokenizer } from "./detokenizer.ts";
export { loadTokenizer } from "./load.ts";
export type { DecodeOptions } from "./text.ts";
export type { ChatTokens, EncodeOptions, TokenIds, Tokenizer } from "./tokenizer.ts";
export type { Vocabulary } from "./vocabulary.ts";

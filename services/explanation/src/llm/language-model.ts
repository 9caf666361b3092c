import type { TokenCount } from "./price.ts";

/** One question to a language model. */
export interface ChatRequest {
  readonly model: string;
  readonly system: string;
  readonly user: string;
  /** JSON schema of the reply, and its name. */
  readonly schema: { readonly name: string; readonly schema: Readonly<Record<string, unknown>> };
  readonly temperature: number;
  readonly seed: bigint;
  readonly maxTokens: number;
}

/** What came back. */
export interface ChatReply {
  readonly text: string;
  readonly tokens: TokenCount;
  /** Whether the reply was cut off at maxTokens. */
  readonly cut: boolean;
}

/**
 * A language model behind an endpoint. Rejects with RpcErrors: UNAVAILABLE or RESOURCE_EXHAUSTED when it stayed away
 * after all attempts, FAILED_PRECONDITION when it refuses (key, model), and the signal's reason when aborted.
 */
export interface LanguageModel {
  readonly endpoint: string;
  ask(request: ChatRequest, signal: AbortSignal): Promise<ChatReply>;
}

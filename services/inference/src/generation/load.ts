import type { GenerateRequest } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import type { Engine } from "@mistral-sae/model";
import { invalidArgument } from "@mistral-sae/rpc";
import type { GenerationDefaults } from "./defaults.ts";
import type { Load } from "./admission.ts";

/** Who a request without the header belongs to. */
export const DEFAULT_TENANT = "default";
/** Names the tenant whose share of the batch a call takes. */
export const TENANT_HEADER = "x-tenant-id";
/** Characters of a tenant's name at most. */
const LONGEST_TENANT = 128;

/** Characters that a token of English text stands for, about. */
const CHARS_PER_TOKEN = 4;

/** The tenant of a call. @throws INVALID_ARGUMENT for a name that is too long. */
export function tenantOf(context: { header(name: string): string | undefined }): string {
  const name = context.header(TENANT_HEADER)?.trim() ?? "";
  if (name.length > LONGEST_TENANT) throw invalidArgument(TENANT_HEADER, `got ${name.length} characters, wanted at most ${LONGEST_TENANT}`);
  return name === "" ? DEFAULT_TENANT : name;
}

/** What is known of a request before its text is cut into tokens. */
export interface Estimate extends Load {
  /** Tokens of one row that it takes for sure. */
  readonly least: number;
}

/** Estimates a request: text at four characters a token, and at least as many tokens as the longest ones would give. */
export function estimateLoad(request: GenerateRequest, tenant: string, rows: number, defaults: GenerationDefaults, longestToken: number): Estimate {
  const input = request.prompt?.prompt;
  let exact = 0;
  let chars = 0;
  if (input?.case === "tokens") exact = input.value.tokenIds.length;
  else if (input?.case === "text") chars = input.value.length;
  else if (input?.case === "chat") for (const { content } of input.value.messages) chars += content.length;
  const prompt = exact + Math.ceil(chars / CHARS_PER_TOKEN);
  const answer = request.sampling?.maxTokens ?? defaults.maxTokens;
  return { tenant, rows, tokens: rows * (prompt + answer), least: exact + Math.ceil(chars / longestToken) + (request.sampling?.maxTokens ?? 1) };
}

/** @throws INVALID_ARGUMENT MEMORY_BUDGET for rows that do not fit the memory for keys and values even alone. */
export function requireMemory(engine: Engine, rows: number, tokens: number): void {
  const { nCtx, cacheBytes } = engine.info;
  const wanted = rows * engine.cacheBytesOf(Math.min(tokens, nCtx));
  if (wanted <= cacheBytes) return;
  throw invalidArgument(
    "sampling.max_tokens",
    `${rows} variants of ${tokens} tokens, prompt and answer, take ${wanted} bytes of keys and values, wanted at most ${cacheBytes}: shorten the prompt or max_tokens, or ask for fewer variants`,
    "MEMORY_BUDGET",
  );
}

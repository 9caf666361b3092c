import { ApiError, badField } from "./errors.ts";
import type { Exchange } from "./clients.ts";
import { Fields } from "./fields.ts";
import type { Job, Prompt } from "./job.ts";
import { MOST_CHOICES, MOST_LOGPROBS, readCommon, readModel, readStream, saeNamer } from "./request.ts";
import { readSampling, readSeed } from "./sampling.ts";
import { readSteering, readTrace } from "./steering.ts";

/** A completion that is asked for. */
export interface CompletionRequest {
  readonly job: Job;
  readonly asked: string;
  readonly stream: boolean;
  readonly includeUsage: boolean;
  /** Choices of each prompt that are returned; the job's are generated. */
  readonly n: number;
  readonly logprobs: number | undefined;
  readonly echo: boolean;
}

/** Tokens that the API generates where the request does not say. */
const DEFAULT_TOKENS = 16;
const MOST_BEST_OF = 20;

/** Reads the body of POST /v1/completions. @throws ApiError naming the field. */
export async function readCompletionRequest(body: unknown, exchange: Exchange): Promise<CompletionRequest> {
  const fields = new Fields(body);
  const model = readModel(fields);
  const prompts = readPrompts(fields.value("prompt"));
  fields.refuse("suffix", "text before a suffix is not offered, wanted it unset", (value) => value === "");
  const echo = fields.boolean("echo") ?? false;
  const logprobs = fields.integer("logprobs", 0, MOST_LOGPROBS);
  const maxTokens = fields.integer("max_tokens", 0, 2 ** 31) ?? DEFAULT_TOKENS;
  if (maxTokens === 0 && !echo) throw badField("max_tokens", "got 0, wanted at least 1, or echo");
  const streaming = readStream(fields);
  const n = fields.integer("n", 1, MOST_CHOICES) ?? 1;
  const bestOf = fields.integer("best_of", 1, MOST_BEST_OF) ?? n;
  if (bestOf < n) throw badField("best_of", `got ${bestOf}, wanted at least n (${n})`);
  if (bestOf > n && streaming.stream) throw badField("best_of", `got ${bestOf} with stream, wanted it unset: the best is known at the end only`);
  if (prompts.length * bestOf > MOST_CHOICES) throw badField(prompts.length > 1 ? "prompt" : "n", `asks for ${prompts.length * bestOf} choices, wanted at most ${MOST_CHOICES}`);
  const ranked = bestOf > n ? 1 : 0;
  const sampling = readSampling(fields, maxTokens, logprobs === undefined ? ranked : Math.max(1, logprobs));
  const seed = readSeed(fields);
  readCommon(fields);
  const nameSae = saeNamer(model, exchange);
  const steering = await readSteering(fields, nameSae);
  const trace = await readTrace(fields, nameSae);
  fields.finish();
  if (maxTokens === 0 && trace !== undefined) throw badField("features", "is given with max_tokens 0, wanted tokens to trace");
  return { job: { model, prompts, choices: bestOf, seed, sampling, steering, trace }, asked: fields.required("model"), ...streaming, n, logprobs, echo };
}

/** A text, a list of texts, a list of ids, or a list of lists of ids. */
function readPrompts(value: unknown): Prompt[] {
  if (value === undefined) throw new ApiError("prompt: is required", { param: "prompt", code: "missing_required_parameter" });
  if (typeof value === "string") return [textPrompt(value)];
  if (Array.isArray(value) && value.length > 0) {
    if (value.every((one) => typeof one === "string")) return value.map(textPrompt);
    if (value.every((one) => typeof one === "number")) return [idsPrompt(value, "prompt")];
    if (value.every((one) => Array.isArray(one))) return value.map((one: unknown[], i) => idsPrompt(one, `prompt[${i}]`));
  }
  throw badField("prompt", "wanted a string, a list of strings, a list of token ids or a list of such lists", "invalid_type");
}

function textPrompt(value: string): Prompt {
  return { prompt: { case: "text", value } };
}

function idsPrompt(ids: readonly unknown[], field: string): Prompt {
  const tokenIds = ids.map((id) => {
    if (typeof id === "number" && Number.isSafeInteger(id) && id >= 0 && id < 2 ** 32) return id;
    throw badField(field, `got ${JSON.stringify(id)}, wanted token ids`);
  });
  return { prompt: { case: "tokens", value: { tokenIds } } };
}

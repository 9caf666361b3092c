import type { MessageInitShape } from "@bufbuild/protobuf";
import { type ChatMessageSchema, ChatRole } from "@mistral-sae/contracts/mistral_sae/common/v1/tokens";
import { ApiError, badField, unsupported } from "./errors.ts";
import type { Exchange } from "./clients.ts";
import { Fields } from "./fields.ts";
import type { Job } from "./job.ts";
import { MOST_CHOICES, MOST_LOGPROBS, readCommon, readModel, readStream, saeNamer } from "./request.ts";
import { readSampling, readSeed } from "./sampling.ts";
import { readSteering, readTrace } from "./steering.ts";

type Message = Exclude<MessageInitShape<typeof ChatMessageSchema>, { $typeName: string }>;

/** A chat completion that is asked for. */
export interface ChatRequest {
  readonly job: Job;
  readonly asked: string;
  readonly stream: boolean;
  readonly includeUsage: boolean;
  /** Rivals of each token to report; undefined for no logprobs at all. */
  readonly topLogprobs: number | undefined;
}

const ROLES: Readonly<Record<string, ChatRole>> = { system: ChatRole.SYSTEM, developer: ChatRole.SYSTEM, user: ChatRole.USER, assistant: ChatRole.ASSISTANT };

/** Reads the body of POST /v1/chat/completions. @throws ApiError naming the field. */
export async function readChatRequest(body: unknown, exchange: Exchange): Promise<ChatRequest> {
  const fields = new Fields(body);
  const model = readModel(fields);
  refuseTools(fields);
  const messages = readMessages(fields);
  const logprobs = fields.boolean("logprobs") ?? false;
  const top = fields.integer("top_logprobs", 0, MOST_LOGPROBS);
  if (top !== undefined && !logprobs) throw badField("top_logprobs", "is given without logprobs, wanted it with logprobs: true");
  const topLogprobs = logprobs ? (top ?? 0) : undefined;
  if (fields.has("max_tokens") && fields.has("max_completion_tokens")) throw badField("max_tokens", "is given beside max_completion_tokens, wanted one of the two");
  const maxTokens = fields.integer("max_completion_tokens", 1, 2 ** 31) ?? fields.integer("max_tokens", 1, 2 ** 31);
  const choices = fields.integer("n", 1, MOST_CHOICES) ?? 1;
  const sampling = readSampling(fields, maxTokens, topLogprobs === undefined ? 0 : Math.max(1, topLogprobs));
  const seed = readSeed(fields);
  const streaming = readStream(fields);
  readCommon(fields);
  const nameSae = saeNamer(model, exchange);
  const steering = await readSteering(fields, nameSae);
  const trace = await readTrace(fields, nameSae);
  fields.finish();
  const job: Job = { model, prompts: [{ prompt: { case: "chat", value: { messages, addGenerationPrompt: true } } }], choices, seed, sampling, steering, trace };
  return { job, asked: fields.required("model"), ...streaming, topLogprobs };
}

function refuseTools(fields: Fields): void {
  const none = (value: unknown) => Array.isArray(value) && value.length === 0;
  fields.refuse("tools", "tools are not offered, wanted none", none);
  fields.refuse("functions", "functions are not offered, wanted none", none);
  fields.refuse("tool_choice", "tools are not offered, wanted none", (value) => value === "none" || value === "auto");
  fields.refuse("function_call", "functions are not offered, wanted none", (value) => value === "none" || value === "auto");
  fields.refuse("parallel_tool_calls", "tools are not offered, wanted it unset");
  fields.refuse("response_format", 'only text is offered, wanted {"type": "text"}', (value) => (value as { readonly type?: unknown }).type === "text");
  fields.refuse("modalities", 'only text is offered, wanted ["text"]', (value) => Array.isArray(value) && value.every((kind) => kind === "text"));
  fields.refuse("audio", "audio is not offered, wanted it unset");
  fields.refuse("prediction", "predicted outputs are not offered, wanted it unset");
  fields.refuse("reasoning_effort", "the model has no efforts of reasoning, wanted it unset", (value) => value === "none");
  fields.refuse("verbosity", "the model has no verbosity, wanted it unset");
  fields.refuse("web_search_options", "there is no search here, wanted it unset");
}

function readMessages(fields: Fields): Message[] {
  const list = fields.array("messages");
  if (list === undefined || list.length === 0) throw new ApiError("messages: wanted at least one message", { param: "messages", code: "missing_required_parameter" });
  return list.map((entry, i) => {
    const own = new Fields(entry, `messages[${i}]`);
    const name = own.required("role");
    const role = ROLES[name];
    if (role === undefined) {
      if (name === "tool" || name === "function") throw unsupported(own.at("role"), "tools are not offered, wanted system, developer, user or assistant");
      throw badField(own.at("role"), `got ${JSON.stringify(name)}, wanted system, developer, user or assistant`);
    }
    own.refuse("name", "the chat template has no names, wanted it unset");
    own.refuse("tool_calls", "tools are not offered, wanted it unset", (value) => Array.isArray(value) && value.length === 0);
    own.refuse("function_call", "functions are not offered, wanted it unset");
    own.refuse("audio", "audio is not offered, wanted it unset");
    own.refuse("refusal", "the chat template has no refusals, wanted it unset");
    own.accept("annotations");
    const content = readContent(own);
    own.finish();
    return { role, content };
  });
}

function readContent(own: Fields): string {
  const content = own.value("content");
  if (typeof content === "string") return content;
  if (content === undefined) throw new ApiError(`${own.at("content")}: is required`, { param: own.at("content"), code: "missing_required_parameter" });
  if (!Array.isArray(content)) throw badField(own.at("content"), "wanted a string or a list of parts", "invalid_type");
  return content
    .map((part: unknown, i) => {
      const at = own.at(`content[${i}]`);
      const piece = new Fields(part, at);
      const type = piece.required("type");
      if (type !== "text") throw unsupported(at, `got a part of type ${JSON.stringify(type)}, wanted text: the model reads no images, audio or files`);
      const text = piece.required("text");
      piece.finish();
      return text;
    })
    .join("");
}

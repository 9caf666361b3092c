import { randomUUID } from "node:crypto";
import type { GenerateStep } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import type { ChatRequest } from "./chat.ts";
import type { Exchange } from "./clients.ts";
import { choiceSteering, featuresOf, promptWarnings, totalSteering } from "./extensions.ts";
import type { EventStream } from "./http.ts";
import { finishReason, type Generated, runJob } from "./job.ts";
import { chatLogprobs } from "./logprobs.ts";
import { usageOf } from "./usage.ts";

/** The whole answer. */
export async function answerChat(request: ChatRequest, exchange: Exchange): Promise<unknown> {
  const created = Math.floor(Date.now() / 1000);
  const { job } = request;
  const choices = await runJob(job, exchange);
  return {
    id: `chatcmpl-${randomUUID()}`,
    object: "chat.completion",
    created,
    model: request.asked,
    choices: choices.map(({ text, steps, finished }, index) => ({
      index,
      message: { role: "assistant", content: text, refusal: null },
      logprobs: logprobsOf(request, steps),
      finish_reason: finishReason(finished),
      ...featuresOf(job, steps),
      ...choiceSteering(job, finished),
    })),
    usage: usageOf(choices, job.choices),
    ...totalSteering(job, choices),
    ...promptWarnings(choices),
  };
}

/** The answer as chunks; the usage, where asked for, comes in a last one without choices. */
export async function streamChat(request: ChatRequest, exchange: Exchange, stream: EventStream): Promise<void> {
  const { job, includeUsage } = request;
  const head = { id: `chatcmpl-${randomUUID()}`, object: "chat.completion.chunk", created: Math.floor(Date.now() / 1000), model: request.asked };
  const send = (choice: object, more: object = {}): Promise<void> => stream.send({ ...head, choices: [{ logprobs: null, finish_reason: null, ...choice }], ...(includeUsage ? { usage: null } : {}), ...more });
  const choices = await runJob(job, exchange, (index, event) => {
    if (event.case === "started") return send({ index, delta: { role: "assistant", content: "", refusal: null } }, event.value.warnings.length === 0 ? {} : { warnings: event.value.warnings });
    if (event.case === "finished") return send({ index, delta: {}, finish_reason: finishReason(event.value), ...choiceSteering(job, event.value) });
    if (event.case !== "step") return undefined;
    const { textDelta } = event.value;
    if (textDelta === "" && request.topLogprobs === undefined && job.trace === undefined) return undefined;
    return send({ index, delta: { content: textDelta }, logprobs: logprobsOf(request, [event.value]), ...featuresOf(job, [event.value]) });
  });
  await sendEnd(head, choices, request, stream);
}

/** What is known at the end only: usage, where asked for, and the totals of steering. */
export async function sendEnd(head: object, choices: readonly Generated[], { job, includeUsage }: Pick<ChatRequest, "job" | "includeUsage">, stream: EventStream): Promise<void> {
  const steering = totalSteering(job, choices);
  if (includeUsage || "steering" in steering) await stream.send({ ...head, choices: [], ...(includeUsage ? { usage: usageOf(choices, job.choices) } : {}), ...steering });
  stream.end();
}

function logprobsOf({ topLogprobs }: ChatRequest, steps: readonly GenerateStep[]) {
  if (topLogprobs === undefined) return null;
  return chatLogprobs(steps.flatMap(({ logprob }) => (logprob === undefined ? [] : [logprob])), topLogprobs);
}

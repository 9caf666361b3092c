import { randomUUID } from "node:crypto";
import type { GenerateStep } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import type { ChatRequest } from "./chat.ts";
import type { Exchange } from "./clients.ts";
import { choiceSteering, featuresOf, promptWarnings, steeringOfStream, totalSteering } from "./extensions.ts";
import type { EventStream } from "./http.ts";
import { finishReason, runJob } from "./job.ts";
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
    ...totalSteering(
      job,
      choices.map(({ finished }) => finished),
    ),
    ...promptWarnings(choices),
  };
}

/** The answer as chunks; the usage, where asked for, comes in a last one without choices. */
export async function streamChat(request: ChatRequest, exchange: Exchange, stream: EventStream): Promise<void> {
  const { job, includeUsage } = request;
  const head = { id: `chatcmpl-${randomUUID()}`, object: "chat.completion.chunk", created: Math.floor(Date.now() / 1000), model: request.asked };
  const send = (choice: object, more: object = {}): Promise<void> => stream.send({ ...head, choices: [{ logprobs: null, finish_reason: null, ...choice }], ...(includeUsage ? { usage: null } : {}), ...more });
  const totals = steeringOfStream(job);
  const choices = await runJob(job, exchange, (index, event) => {
    if (event.case === "started") return send({ index, delta: { role: "assistant", content: "", refusal: null } }, event.value.warnings.length === 0 ? {} : { warnings: event.value.warnings });
    if (event.case === "finished") return send({ index, delta: {}, finish_reason: finishReason(event.value), ...choiceSteering(job, event.value) }, totals(event.value));
    if (event.case !== "step") return undefined;
    const { textDelta } = event.value;
    if (textDelta === "" && request.topLogprobs === undefined && job.trace === undefined) return undefined;
    return send({ index, delta: { content: textDelta }, logprobs: logprobsOf(request, [event.value]), ...featuresOf(job, [event.value]) });
  });
  if (includeUsage) await stream.send({ ...head, choices: [], usage: usageOf(choices, job.choices) });
  stream.end();
}

function logprobsOf({ topLogprobs }: ChatRequest, steps: readonly GenerateStep[]) {
  if (topLogprobs === undefined) return null;
  return chatLogprobs(steps.flatMap(({ logprob }) => (logprob === undefined ? [] : [logprob])), topLogprobs);
}

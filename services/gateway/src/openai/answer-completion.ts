import { randomUUID } from "node:crypto";
import type { GenerateStep } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import type { Exchange } from "./clients.ts";
import type { CompletionRequest } from "./completion.ts";
import { type Echo, echoPrompt } from "./echo.ts";
import { unsupported } from "./errors.ts";
import { choiceSteering, featuresOf, promptWarnings, steeringOfStream, totalSteering } from "./extensions.ts";
import type { EventStream } from "./http.ts";
import { finishReason, type Generated, runJob } from "./job.ts";
import { characters, completionLogprobs, type ScoredToken, scoredToken } from "./logprobs.ts";
import { usageOf } from "./usage.ts";

/** The whole answer. */
export async function answerCompletion(request: CompletionRequest, exchange: Exchange): Promise<unknown> {
  const head = headOf(request);
  const echoes = await echoesOf(request, exchange);
  if (request.job.sampling.maxTokens === 0) return { ...head, ...echoesAlone(request, echoes) };
  const { job } = request;
  const all = await runJob(job, exchange);
  const returned = job.prompts.flatMap((_, p) => best(all.slice(p * job.choices, (p + 1) * job.choices), request.n).map((choice) => ({ choice, echo: echoes[p] })));
  return {
    ...head,
    choices: returned.map(({ choice: { text, steps, finished }, echo }, index) => ({
      index,
      text: `${echo?.text ?? ""}${text}`,
      logprobs: logprobsOf(request, [...(echo?.tokens ?? []), ...scored(steps)], 0),
      finish_reason: finishReason(finished),
      ...featuresOf(job, steps),
      ...choiceSteering(job, finished),
    })),
    usage: usageOf(all, job.choices),
    ...totalSteering(
      job,
      all.map(({ finished }) => finished),
    ),
    ...promptWarnings(all),
  };
}

/** The answer as chunks; the usage, where asked for, comes in a last one without choices. */
export async function streamCompletion(request: CompletionRequest, exchange: Exchange, stream: EventStream): Promise<void> {
  const { job, includeUsage } = request;
  if (job.sampling.maxTokens === 0) throw unsupported("stream", "is given with max_tokens 0, wanted tokens to stream");
  const head = headOf(request);
  const echoes = await echoesOf(request, exchange);
  // Characters of the text before the next token, of each choice.
  const offsets = new Map<number, number>();
  const send = (choice: object, more: object = {}): Promise<void> => stream.send({ ...head, choices: [{ text: "", logprobs: null, finish_reason: null, ...choice }], ...(includeUsage ? { usage: null } : {}), ...more });
  const logprobs = (index: number, tokens: readonly ScoredToken[]) => {
    const from = offsets.get(index) ?? 0;
    offsets.set(index, from + tokens.reduce((sum, { strToken }) => sum + characters(strToken), 0));
    return logprobsOf(request, tokens, from);
  };
  const totals = steeringOfStream(job);
  const choices = await runJob(job, exchange, (index, event) => {
    if (event.case === "started") {
      const echo = echoes[Math.floor(index / job.choices)];
      return send({ index, ...(echo === undefined ? {} : { text: echo.text, logprobs: logprobs(index, echo.tokens) }) }, event.value.warnings.length === 0 ? {} : { warnings: event.value.warnings });
    }
    if (event.case === "finished") return send({ index, finish_reason: finishReason(event.value), ...choiceSteering(job, event.value) }, totals(event.value));
    if (event.case !== "step") return undefined;
    const { textDelta } = event.value;
    if (textDelta === "" && request.logprobs === undefined && job.trace === undefined) return undefined;
    return send({ index, text: textDelta, logprobs: logprobs(index, scored([event.value])), ...featuresOf(job, [event.value]) });
  });
  if (includeUsage) await stream.send({ ...head, choices: [], usage: usageOf(choices, job.choices) });
  stream.end();
}

function headOf({ asked }: CompletionRequest) {
  return { id: `cmpl-${randomUUID()}`, object: "text_completion", created: Math.floor(Date.now() / 1000), model: asked };
}

async function echoesOf(request: CompletionRequest, exchange: Exchange): Promise<readonly Echo[]> {
  if (!request.echo) return [];
  const { job, logprobs } = request;
  if (logprobs !== undefined && job.steering.needsService) throw unsupported("echo", "is given with logprobs and steering by words, presets or indexed activations, wanted interventions by feature or direction with a unit of their own");
  return Promise.all(job.prompts.map((prompt) => echoPrompt(job, prompt, logprobs, exchange)));
}

/** The prompts alone: nothing is generated. */
function echoesAlone(request: CompletionRequest, echoes: readonly Echo[]) {
  const tokens = echoes.reduce((sum, { tokenIds }) => sum + tokenIds.length, 0);
  const choices = echoes.flatMap((echo) => Array.from({ length: request.n }, () => echo));
  return {
    choices: choices.map((echo, index) => ({ index, text: echo.text, logprobs: logprobsOf(request, echo.tokens, 0), finish_reason: "length" })),
    usage: { prompt_tokens: tokens, completion_tokens: 0, total_tokens: tokens },
  };
}

function scored(steps: readonly GenerateStep[]): ScoredToken[] {
  return steps.flatMap(({ logprob }) => (logprob === undefined ? [] : [scoredToken(logprob)]));
}

function logprobsOf({ logprobs }: CompletionRequest, tokens: readonly ScoredToken[], from: number) {
  return logprobs === undefined ? null : completionLogprobs(tokens, logprobs, from);
}

/** The n choices with the highest log-probability a token, best first; as they came where all are returned. */
function best(choices: readonly Generated[], n: number): readonly Generated[] {
  if (choices.length <= n) return choices;
  const mean = ({ steps }: Generated) => steps.reduce((sum, { logprob }) => sum + (logprob?.chosen?.logprob ?? 0), 0) / steps.length;
  return choices.toSorted((a, b) => mean(b) - mean(a)).slice(0, n);
}


import type { MessageInitShape } from "@bufbuild/protobuf";
import type { PromptInputSchema } from "@mistral-sae/contracts/mistral_sae/common/v1/tokens";
import { FinishReason, type GenerateFinished, type GenerateResponse, type GenerateStarted, type GenerateStep } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import type { Exchange } from "./clients.ts";
import type { Sampling } from "./sampling.ts";
import type { Steering, Trace } from "./steering.ts";

export type Prompt = Exclude<MessageInitShape<typeof PromptInputSchema>, { $typeName: string }>;

/** What all choices of a request share. */
export interface Job {
  /** models/{model}. */
  readonly model: string;
  readonly prompts: readonly Prompt[];
  /** Choices of each prompt that are generated. */
  readonly choices: number;
  /** Seed of the first choice of each prompt; the others take the numbers after it. Unset draws one for each. */
  readonly seed: bigint | undefined;
  readonly sampling: Sampling;
  readonly steering: Steering;
  readonly trace: Trace | undefined;
}

/** A choice that has been generated. */
export interface Generated {
  readonly started: GenerateStarted;
  readonly steps: readonly GenerateStep[];
  readonly text: string;
  readonly finished: GenerateFinished;
}

const VARIANT = "choice";

/** Events of one choice: of Generate, or of Steer where the steering service has something to resolve. */
export async function* choiceEvents(job: Job, prompt: Prompt, choice: number, { backends, options }: Exchange, signal: AbortSignal): AsyncGenerator<GenerateResponse["event"]> {
  const { model, steering, trace } = job;
  const sampling = job.seed === undefined ? job.sampling : { ...job.sampling, seed: BigInt.asUintN(64, job.seed + BigInt(choice)) };
  const common = { model, prompt, sampling, ...(trace === undefined ? {} : { trace }) };
  const interventions = [...steering.interventions];
  const callOptions = { ...options, signal };
  const backend = steering.needsService ? "steering" : "inference";
  try {
    if (steering.needsService) {
      const variants = [{ variantId: VARIANT, interventions, queries: [...steering.queries] }];
      for await (const { event } of backends.steering.steer({ ...common, variants, withoutBaseline: true }, callOptions)) if (event !== undefined) yield event.event;
    } else {
      for await (const { event } of backends.inference.generate({ ...common, variants: [{ variantId: VARIANT, interventions }] }, callOptions)) yield event;
    }
  } catch (error) {
    throw backends.explain(error, backend);
  }
}

/** Receives the events of every choice as they come; what it returns is waited for before the next one is read. */
export type Listener = (index: number, event: GenerateResponse["event"]) => void | Promise<void>;

/** Runs all choices at once, prompt after prompt in the order of the results. If one fails, the others stop. */
export async function runJob(job: Job, exchange: Exchange, listener: Listener = () => undefined): Promise<readonly Generated[]> {
  const stop = new AbortController();
  const signal = AbortSignal.any([exchange.options.signal, stop.signal]);
  const runs = job.prompts.flatMap((prompt, p) => Array.from({ length: job.choices }, (_, choice) => ({ prompt, choice, index: p * job.choices + choice })));
  return Promise.all(
    runs.map(async ({ prompt, choice, index }) => {
      try {
        return await runChoice(choiceEvents(job, prompt, choice, exchange, signal), (event) => listener(index, event));
      } catch (error) {
        stop.abort();
        throw error;
      }
    }),
  );
}

async function runChoice(events: AsyncIterable<GenerateResponse["event"]>, listener: (event: GenerateResponse["event"]) => void | Promise<void>): Promise<Generated> {
  let started: GenerateStarted | undefined;
  let finished: GenerateFinished | undefined;
  const steps: GenerateStep[] = [];
  for await (const event of events) {
    if (event.case === "started") started = event.value;
    else if (event.case === "step") steps.push(event.value);
    else if (event.case === "finished") finished = event.value;
    await listener(event);
  }
  if (started === undefined || finished === undefined) throw new Error("the generation ended without saying why");
  return { started, steps, finished, text: steps.map(({ textDelta }) => textDelta).join("") };
}

/** The API has two reasons here: a full text, whose end the model, a stop text or a condition chose, or a cut one. */
export function finishReason({ finishReason }: GenerateFinished): "stop" | "length" {
  return finishReason === FinishReason.LENGTH ? "length" : "stop";
}

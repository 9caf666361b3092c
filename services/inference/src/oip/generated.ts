import { create } from "@bufbuild/protobuf";
import type { Intervention } from "@mistral-sae/contracts/mistral_sae/common/v1/intervention";
import { SamplingParamsSchema } from "@mistral-sae/contracts/mistral_sae/common/v1/sampling";
import { FinishReason, GenerateRequestSchema } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import type { CallContext } from "@mistral-sae/rpc";
import { generateHandler } from "../handlers/generate.ts";
import type { Parts } from "../handlers/parts.ts";
import type { LoadedModel } from "../models/loaded-model.ts";
import type { Prompt } from "../wire/prompt.ts";
import type { OutputTensor } from "./outputs.ts";
import type { Parameters } from "./parameters.ts";
import type { PromptBatch } from "./prompts.ts";

/** Outputs that generating makes. */
export const GENERATED = ["output_ids", "output_lengths", "generated_text", "finish_reason", "steering_applied_steps"] as const;

export function isGenerated(output: string): boolean {
  return (GENERATED as readonly string[]).includes(output);
}

/** What fills `output_ids` behind a row's last token: no id. */
const NO_TOKEN = -1n;

interface Run {
  readonly parts: Parts;
  readonly model: LoadedModel;
  readonly batch: PromptBatch;
  readonly interventions: readonly Intervention[];
  readonly parameters: Parameters;
  readonly context: CallContext;
}

interface Text {
  readonly tokenIds: number[];
  text: string;
  finish: FinishReason;
  appliedSteps: number;
}

/** Generates from every prompt at once; each row is as it would be alone. If one fails, the others stop. */
export async function generateOutputs(run: Run): Promise<OutputTensor[]> {
  const stop = new AbortController();
  const context: CallContext = { deadline: run.context.deadline, header: (name) => run.context.header(name), signal: AbortSignal.any([run.context.signal, stop.signal]) };
  const texts = await Promise.all(
    run.batch.prompts.map(async (prompt) => {
      try {
        return await generateOne(prompt, run, context);
      } catch (error) {
        stop.abort();
        throw error;
      }
    }),
  );
  const longest = Math.max(...texts.map(({ tokenIds }) => tokenIds.length));
  const ids = new BigInt64Array(texts.length * longest).fill(NO_TOKEN);
  for (const [b, { tokenIds }] of texts.entries()) ids.set(tokenIds.map(BigInt), b * longest);
  const column = [texts.length, 1];
  return [
    { name: "output_ids", shape: [texts.length, longest], values: ids },
    { name: "output_lengths", shape: column, values: Int32Array.from(texts, ({ tokenIds }) => tokenIds.length) },
    { name: "generated_text", shape: column, values: texts.map(({ text }) => text) },
    { name: "finish_reason", shape: column, values: texts.map(({ finish }) => nameOf(finish)) },
    { name: "steering_applied_steps", shape: column, values: Int32Array.from(texts, ({ appliedSteps }) => appliedSteps) },
  ];
}

async function generateOne(prompt: Prompt, { parts, model, interventions, parameters }: Run, context: CallContext): Promise<Text> {
  const request = create(GenerateRequestSchema, {
    model: model.name,
    prompt: { prompt: { case: "tokens", value: { tokenIds: Array.from(prompt.ids) } } },
    sampling: samplingOf(parameters),
    variants: [{ variantId: "row", interventions: [...interventions] }],
  });
  const text: Text = { tokenIds: [], text: "", finish: FinishReason.UNSPECIFIED, appliedSteps: 0 };
  for await (const { event } of generateHandler(parts)(request, context)) {
    if (event?.case === "step") {
      text.tokenIds.push(event.value.tokenId ?? 0);
      text.text += event.value.textDelta ?? "";
    } else if (event?.case === "finished") {
      text.finish = event.value.finishReason ?? FinishReason.UNSPECIFIED;
      text.appliedSteps = event.value.steeringAppliedSteps ?? 0;
    }
  }
  return text;
}

function samplingOf(parameters: Parameters) {
  const message = create(SamplingParamsSchema, { stop: [...(parameters.strings("stop") ?? [])], ignoreEos: parameters.boolean("ignore_eos") ?? false });
  const numbers = {
    temperature: parameters.number("temperature"),
    topP: parameters.number("top_p"),
    topK: parameters.count("top_k"),
    minP: parameters.number("min_p"),
    repetitionPenalty: parameters.number("repetition_penalty"),
    presencePenalty: parameters.number("presence_penalty"),
    frequencyPenalty: parameters.number("frequency_penalty"),
    maxTokens: parameters.count("max_tokens"),
  };
  for (const [field, value] of Object.entries(numbers)) if (value !== undefined) message[field as keyof typeof numbers] = value;
  const seed = parameters.seed("seed");
  if (seed !== undefined) message.seed = seed;
  return message;
}

function nameOf(finish: FinishReason): string {
  return Object.entries(FinishReason).find(([, value]) => value === finish)?.[0] ?? "UNSPECIFIED";
}

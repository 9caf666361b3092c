import { randomBytes } from "node:crypto";
import type { SamplingParams as SamplingMessage } from "@mistral-sae/contracts/mistral_sae/common/v1/sampling";
import { mostLogprobs, type SamplingParams } from "@mistral-sae/model";
import { invalidArgument } from "@mistral-sae/rpc";
import type { GenerationDefaults } from "./defaults.ts";

/** How one request generates. */
export interface GenerationParams {
  readonly sampling: SamplingParams;
  readonly maxTokens: number;
  readonly stop: readonly string[];
  readonly ignoreEos: boolean;
}

const MOST_STOPS = 16;
const MOST_BIASED = 1024;

/**
 * A request's sampling with the model's defaults filled in and a seed drawn where none is given.
 *
 * @throws INVALID_ARGUMENT naming the field; TOKEN_LIMIT when prompt and max_tokens do not fit the context.
 */
export function readSampling(message: SamplingMessage | undefined, defaults: GenerationDefaults, promptTokens: number, { nCtx, dVocab }: { readonly nCtx: number; readonly dVocab: number }): GenerationParams {
  const room = nCtx - promptTokens;
  if (room < 1) {
    throw invalidArgument("prompt", `got ${promptTokens} tokens, wanted at most ${nCtx - 1}, which leaves room for one more in the model's context`, "TOKEN_LIMIT");
  }
  const maxTokens = message?.maxTokens ?? Math.min(defaults.maxTokens, room);
  if (maxTokens < 1) throw invalidArgument("sampling.max_tokens", `got ${maxTokens}, wanted at least 1`);
  if (maxTokens > room) {
    throw invalidArgument(
      "sampling.max_tokens",
      `got ${maxTokens} after a prompt of ${promptTokens}, wanted at most ${room}: the model's context is ${nCtx} tokens`,
      "TOKEN_LIMIT",
    );
  }
  const nLogprobs = message?.nLogprobs ?? 0;
  if (nLogprobs > mostLogprobs) throw invalidArgument("sampling.n_logprobs", `got ${nLogprobs}, wanted at most ${mostLogprobs}`);
  const stop = message?.stop ?? [];
  if (stop.length > MOST_STOPS) throw invalidArgument("sampling.stop", `got ${stop.length} texts, wanted at most ${MOST_STOPS}`);
  const empty = stop.indexOf("");
  if (empty >= 0) throw invalidArgument(`sampling.stop[${empty}]`, "is empty, wanted at least one character");
  return {
    maxTokens,
    stop,
    ignoreEos: message?.ignoreEos ?? false,
    sampling: {
      temperature: within("temperature", message?.temperature ?? defaults.temperature, 0, 100),
      topP: within("top_p", message?.topP ?? defaults.topP, Number.MIN_VALUE, 1),
      topK: message?.topK ?? defaults.topK,
      minP: within("min_p", message?.minP ?? defaults.minP, 0, 1),
      repetitionPenalty: within("repetition_penalty", message?.repetitionPenalty ?? defaults.repetitionPenalty, 1e-3, 1e3),
      presencePenalty: within("presence_penalty", message?.presencePenalty ?? 0, -100, 100),
      frequencyPenalty: within("frequency_penalty", message?.frequencyPenalty ?? 0, -100, 100),
      ...biasFields(message?.logitBias ?? {}, dVocab),
      seed: message?.seed ?? randomBytes(8).readBigUInt64LE(),
      nLogprobs,
    },
  };
}

/** The `logitBias` field, where there is any bias. @throws INVALID_ARGUMENT, TOKEN_OUT_OF_VOCAB for an id that is none. */
function biasFields(biases: Readonly<Record<number, number>>, dVocab: number): Pick<SamplingParams, "logitBias"> {
  const logitBias = Object.entries(biases).map(([token, bias]) => [Number(token), within(`logit_bias[${token}]`, bias, -100, 100)] as const);
  if (logitBias.length > MOST_BIASED) throw invalidArgument("sampling.logit_bias", `got ${logitBias.length} ids, wanted at most ${MOST_BIASED}`);
  const outside = logitBias.find(([token]) => token >= dVocab);
  if (outside !== undefined) throw invalidArgument("sampling.logit_bias", `got token ${outside[0]}, wanted less than ${dVocab}`, "TOKEN_OUT_OF_VOCAB");
  return logitBias.length === 0 ? {} : { logitBias };
}

function within(name: string, value: number, least: number, most: number): number {
  if (value >= least && value <= most) return value;
  const lower = least === Number.MIN_VALUE ? "more than 0" : `at least ${least}`;
  throw invalidArgument(`sampling.${name}`, `got ${value}, wanted ${lower} and at most ${most}`, Number.isFinite(value) ? "INVALID_FIELD" : "VALUE_NOT_FINITE");
}

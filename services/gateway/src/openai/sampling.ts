import type { MessageInitShape } from "@bufbuild/protobuf";
import type { SamplingParamsSchema } from "@mistral-sae/contracts/mistral_sae/common/v1/sampling";
import { badField } from "./errors.ts";
import type { Fields } from "./fields.ts";

export type Sampling = Exclude<MessageInitShape<typeof SamplingParamsSchema>, { $typeName: string }>;

/**
 * How the next token is chosen. Unset, temperature and top_p are the API's 1; top_k, min_p, repetition_penalty and
 * ignore_eos, which the API does not have, are as everywhere here.
 */
export function readSampling(fields: Fields, maxTokens: number | undefined, nLogprobs: number): Sampling {
  const sampling: Sampling = {
    temperature: fields.number("temperature", 0, 2) ?? 1,
    topP: fields.number("top_p", 0, 1) ?? 1,
    presencePenalty: fields.number("presence_penalty", -2, 2) ?? 0,
    frequencyPenalty: fields.number("frequency_penalty", -2, 2) ?? 0,
    logitBias: readLogitBias(fields),
    stop: readStop(fields),
    ignoreEos: fields.boolean("ignore_eos") ?? false,
    nLogprobs,
  };
  const topK = fields.integer("top_k", 0, 2 ** 31);
  const minP = fields.number("min_p", 0, 1);
  const repetitionPenalty = fields.number("repetition_penalty");
  return {
    ...sampling,
    ...(maxTokens === undefined ? {} : { maxTokens }),
    ...(topK === undefined ? {} : { topK }),
    ...(minP === undefined ? {} : { minP }),
    ...(repetitionPenalty === undefined ? {} : { repetitionPenalty }),
  };
}

/** The seed of choice 0; the others take the numbers after it. Negative ones stand for their two's complement. */
export function readSeed(fields: Fields): bigint | undefined {
  const seed = fields.integer("seed", Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER);
  return seed === undefined ? undefined : BigInt.asUintN(64, BigInt(seed));
}

function readStop(fields: Fields): string[] {
  const stop = fields.value("stop");
  if (stop === undefined) return [];
  const list = Array.isArray(stop) ? stop : [stop];
  if (list.every((text) => typeof text === "string")) return list;
  throw badField("stop", "wanted a string or a list of strings", "invalid_type");
}

function readLogitBias(fields: Fields): Record<number, number> {
  const value = fields.value("logit_bias");
  if (value === undefined) return {};
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw badField("logit_bias", "wanted an object from token ids to numbers", "invalid_type");
  return Object.fromEntries(
    Object.entries(value).map(([id, bias]: [string, unknown]) => {
      if (!/^\d{1,9}$/.test(id)) throw badField("logit_bias", `got the key ${JSON.stringify(id)}, wanted a token id`);
      if (typeof bias !== "number" || Math.abs(bias) > 100) throw badField("logit_bias", `got ${JSON.stringify(bias)} for token ${id}, wanted -100 to 100`);
      return [Number(id), bias];
    }),
  );
}

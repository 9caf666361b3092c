import type { MessageInitShape } from "@bufbuild/protobuf";
import type { SamplingParamsSchema } from "@mistral-sae/contracts/mistral_sae/common/v1/sampling";
import type { Command } from "commander";
import { readFileSync } from "node:fs";
import { decimal, integer, repeated } from "./command.ts";
import { badInput } from "./output.ts";

/** Sampling as given on the command line; what is absent is the model's default. */
export interface SamplingOptions {
  readonly maxTokens?: number;
  readonly temperature?: number;
  readonly topP?: number;
  readonly topK?: number;
  readonly minP?: number;
  readonly repetitionPenalty?: number;
  readonly presencePenalty?: number;
  readonly frequencyPenalty?: number;
  readonly seed?: number;
  readonly stop?: readonly string[];
  readonly logprobs?: number;
  readonly ignoreEos?: boolean;
}

/** Adds the sampling options to a command. */
export function addSamplingOptions(command: Command): Command {
  return command
    .option("--max-tokens <n>", "tokens to generate at most", integer({ min: 1 }))
    .option("--temperature <t>", "0 is greedy", decimal({ min: 0 }))
    .option("--top-p <p>", "nucleus mass in (0, 1]", decimal({ min: 0, max: 1 }))
    .option("--top-k <k>", "keep the k likeliest tokens; 0 keeps all", integer({ min: 0 }))
    .option("--min-p <p>", "drop tokens below p times the largest probability", decimal({ min: 0, max: 1 }))
    .option("--repetition-penalty <r>", "multiplicative penalty on tokens seen; 1 is none", decimal({ min: 0 }))
    .option("--presence-penalty <p>", "additive penalty on tokens generated before", decimal())
    .option("--frequency-penalty <p>", "additive penalty for each time a token was generated", decimal())
    .option("--seed <n>", "seed of the sampling; drawn and reported otherwise", integer({ min: 0 }))
    .option("--stop <text>", "end before this text; may be given again", repeated)
    .option("--logprobs <n>", "log-probabilities of the n likeliest tokens a step", integer({ min: 0, max: 20 }))
    .option("--ignore-eos", "go on after the end-of-sequence token");
}

/** The options as a message. */
export function samplingOf(options: SamplingOptions): MessageInitShape<typeof SamplingParamsSchema> {
  const given = {
    temperature: options.temperature,
    topP: options.topP,
    topK: options.topK,
    minP: options.minP,
    repetitionPenalty: options.repetitionPenalty,
    presencePenalty: options.presencePenalty,
    frequencyPenalty: options.frequencyPenalty,
    maxTokens: options.maxTokens,
    seed: options.seed === undefined ? undefined : BigInt(options.seed),
  };
  const set = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
  return { ...set, stop: [...(options.stop ?? [])], nLogprobs: options.logprobs ?? 0, ignoreEos: options.ignoreEos ?? false };
}

/** A text argument; "-" reads standard input. */
export function textArgument(text: string, field: string): string {
  const read = text === "-" ? readFileSync(0, "utf8") : text;
  if (read === "") throw badInput(`${field} is empty`, { field, wanted: "some text, or - to read standard input" });
  return read;
}

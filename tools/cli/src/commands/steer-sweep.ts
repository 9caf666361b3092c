import { SweepSteeringResponseSchema, type SweepPoint } from "@mistral-sae/contracts/mistral_sae/steering/v1/steering";
import type { Command } from "commander";
import { connect } from "../clients.ts";
import { decimalList, run, type CommandContext } from "../command.ts";
import { badInput, formatNumber, messageJson, oneLine } from "../output.ts";
import { modelName } from "../resources.ts";
import { addSamplingOptions, samplingOf, textArgument, type SamplingOptions } from "../sampling-options.ts";
import { addSteeringOptions, interventionsOf, type SteeringOptions } from "../steering-options.ts";

interface SweepOptions extends SamplingOptions, SteeringOptions {
  readonly model?: string;
  readonly strengths: readonly number[];
}

/** `steer sweep`. */
export function registerSweepVerb(steer: Command): void {
  const command = steer
    .command("sweep")
    .description("Try one feature at several strengths; each text is judged by the unsteered model. --json prints one point a line.")
    .argument("<prompt>", "text to continue; - reads standard input")
    .option("--strengths <list>", "strengths in --unit", decimalList(), [0.1, 0.2, 0.3, 0.4, 0.6, 0.8])
    .option("--model <model>", "models/{model} or its id; the only one loaded otherwise");
  addSamplingOptions(addSteeringOptions(command))
    .addHelpText("after", '\nExample:\n  mistral-sae steer sweep "Once upon a time" --feature 12 --strengths 0.2,0.4,0.8 --seed 1')
    .action(run(sweep));
}

async function sweep({ output, signal, address }: CommandContext, given: string, options: SweepOptions): Promise<void> {
  const clients = connect(address);
  const [intervention, ...others] = await interventionsOf(clients, options, signal);
  if (intervention === undefined || others.length > 0) throw badInput("a sweep tries one feature", { field: "--feature", got: options.feature?.join(" "), wanted: "one feature" });
  const prompt = { prompt: { case: "text", value: textArgument(given, "prompt") } } as const;
  const request = { model: modelName(options.model), prompt, sampling: samplingOf(options), intervention, strengths: [...options.strengths] };
  for await (const message of clients.steering.sweepSteering(request, { signal })) {
    output.event(messageJson(SweepSteeringResponseSchema, message), message.point === undefined ? "" : describePoint(message.point));
  }
}

function describePoint({ strength, text, meanKl, meanNll, featureActivation }: SweepPoint): string {
  const heading = strength === 0 ? "baseline" : `strength ${formatNumber(strength)}`;
  const activation = featureActivation === undefined ? "" : `  activation ${formatNumber(featureActivation)}`;
  return `── ${heading}  KL ${formatNumber(meanKl)}  NLL ${formatNumber(meanNll)}${activation}\n${oneLine(text)}\n`;
}

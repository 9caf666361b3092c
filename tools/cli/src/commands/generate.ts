import { GenerateResponseSchema } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import type { Command } from "commander";
import { connect } from "../clients.ts";
import { run } from "../command.ts";
import { messageJson } from "../output.ts";
import { modelName } from "../resources.ts";
import { addSamplingOptions, samplingOf, textArgument, type SamplingOptions } from "../sampling-options.ts";

interface GenerateOptions extends SamplingOptions {
  readonly model?: string;
}

/** `generate`. */
export function registerGenerateCommand(program: Command): void {
  const command = program
    .command("generate")
    .description("Continue a text; the words stream as they come. --json prints one event a line.")
    .argument("<prompt>", "text to continue; - reads standard input")
    .option("--model <model>", "models/{model} or its id; the only one loaded otherwise");
  addSamplingOptions(command)
    .addHelpText("after", '\nExample:\n  mistral-sae generate "Once upon a time" --max-tokens 60 --temperature 0.8 --seed 1')
    .action(
      run(async ({ output, signal, address }, prompt: string, options: GenerateOptions) => {
        const text = textArgument(prompt, "prompt");
        const events = connect(address).inference.generate(
          { model: modelName(options.model), prompt: { prompt: { case: "text", value: text } }, sampling: samplingOf(options) },
          { signal },
        );
        if (!output.json) output.event(undefined, text);
        for await (const message of events) {
          const { event } = message;
          if (output.json) output.event(messageJson(GenerateResponseSchema, message), "");
          else if (event.case === "step") output.event(undefined, event.value.textDelta);
          else if (event.case === "finished") output.event(undefined, "\n");
          if (event.case === "started") for (const warning of event.value.warnings) output.warn(warning);
        }
      }),
    );
}

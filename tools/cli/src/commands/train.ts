import type { Command } from "commander";
import { run } from "../command.ts";
import { badInput } from "../output.ts";
import { fittedToModel } from "../train/fitted.ts";
import { runLocalTraining } from "../train/local-training.ts";
import { remoteConfig } from "../train/remote-config.ts";
import { addTrainOptions, type TrainOptions } from "../train/train-options.ts";
import { runRemoteTraining } from "./train-run.ts";

const EXAMPLES = `
Examples:
  mistral-sae train --corpus ./texts --hook-name blocks.2.hook_resid_pre --d-sae 2048 --k 16 --training-tokens 4_600_000
  mistral-sae train --corpus ./texts --hook-name blocks.2.hook_resid_pre --architecture jumprelu --d-sae 2048 --l0-coefficient 0.5 --training-tokens 4_600_000
  mistral-sae train --preset mistral-7b-layer16 --corpus ./texts
  mistral-sae train --activations rows.safetensors --d-sae 4096 --k 32 --out ./my-sae
  mistral-sae train --activations rows.safetensors --formulation seed_compat --init-from ./start --no-shuffle --batch-tokens 128 --steps 100 --out ./my-sae`;

const LOCAL_ONLY = ["out", "epochs", "deadSteps", "modelName"] as const satisfies readonly (keyof TrainOptions)[];
const REMOTE_ONLY = ["model", "corpus", "activationSet", "activationSetOut", "hookNameOut", "skipConnection", "streamActivations", "activationDiskBytes", "contextSize", "activationDtype", "checkpointEvery", "evalCorpus", "evalTokens", "runId", "requestId", "detach", "validateOnly"] as const satisfies readonly (keyof TrainOptions)[];

/** `train`: on rows from files in this process, or on text by the training service. */
export function registerTrainCommands(program: Command): void {
  const command = program
    .command("train")
    .description("Train an SAE: on the activations of a model over a text, by the services; or, with --activations, on rows from files, in this process.");
  addTrainOptions(command)
    .addHelpText("after", EXAMPLES)
    .action(
      run(async (context, options: TrainOptions) => {
        const local = options.activations !== undefined;
        refuse(options, local ? REMOTE_ONLY : LOCAL_ONLY, local ? "belongs to a training on text, and --activations was given" : "belongs to a training on rows from files (--activations)");
        if (local) {
          await runLocalTraining(context, options);
          return;
        }
        const { runId, requestId, detach, validateOnly } = options;
        const config = remoteConfig(await fittedToModel(options, context));
        await runRemoteTraining(context, { config, runId, requestId, detach, validateOnly });
      }),
    );
}

function refuse(options: TrainOptions, names: readonly (keyof TrainOptions)[], reason: string): void {
  const given = names.find((name) => options[name] !== undefined);
  if (given === undefined) return;
  const flag = `--${given.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
  throw badInput(`${flag} ${reason}`, { field: flag });
}

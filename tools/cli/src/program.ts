import { Command } from "commander";
import { DEFAULT_ADDRESS, run } from "./command.ts";
import { registerActivationsCommands } from "./commands/activations.ts";
import { registerDemoCommand } from "./commands/demo.ts";
import { registerExplainCommand } from "./commands/explain.ts";
import { registerGenerateCommand } from "./commands/generate.ts";
import { registerHarvestCommand } from "./commands/harvest.ts";
import { registerIndexCommands } from "./commands/index-verbs.ts";
import { registerJobsCommands } from "./commands/jobs.ts";
import { registerModelCommands } from "./commands/model.ts";
import { registerDownloadCommand } from "./commands/model-download.ts";
import { registerPerplexityCommand } from "./commands/model-perplexity.ts";
import { registerQuantizeCommand } from "./commands/model-quantize.ts";
import { registerRemoteModelCommands } from "./commands/model-remote.ts";
import { registerSaeCommands } from "./commands/sae.ts";
import { registerSaeEvaluateCommand } from "./commands/sae-evaluate.ts";
import { registerSaeHubCommands } from "./commands/sae-hub.ts";
import { registerSaeProbeCommand } from "./commands/sae-probe.ts";
import { registerSaeVerifyCommand } from "./commands/sae-verify.ts";
import { registerRemoteSaeCommands } from "./commands/sae-remote.ts";
import { registerScoreCommand } from "./commands/score.ts";
import { registerSteerCommands } from "./commands/steer.ts";
import { registerSweepCommands } from "./commands/sweep.ts";
import { registerTrainCommands } from "./commands/train.ts";
import { registerUpCommand } from "./commands/up.ts";

const EXAMPLES = `
Examples:
  mistral-sae demo                                    the whole main job on the model that ships
  mistral-sae up                                      start all services, then in another terminal:
  mistral-sae index ls
  mistral-sae index search "dogs and cats"
  mistral-sae steer text "Once upon a time" --words "dragon"
  mistral-sae sae inspect ./my-sae

Exit codes: 0 done, 1 failed, 2 bad input or usage, 3 not found, 4 not reachable or overloaded, 130 interrupted.`;

/** The command line, without running it. */
export function buildProgram(): Command {
  const program = new Command("mistral-sae")
    .description("Decode and steer Mistral models with sparse autoencoders.")
    .version("0.1.0")
    .option("--json", "print results as JSON on stdout and errors as JSON on stderr")
    .option("-q, --quiet", "no progress and no remarks on stderr")
    .option("--address <host:port>", `the gateway's gRPC (default: $MISTRAL_SAE_ADDRESS or ${DEFAULT_ADDRESS})`)
    .configureHelp({ showGlobalOptions: true })
    .showHelpAfterError("  hint:   add --help for usage")
    .exitOverride()
    .addHelpText("after", EXAMPLES);
  registerDemoCommand(program);
  registerUpCommand(program);
  registerModelCommands(program);
  registerDownloadCommand(program);
  registerQuantizeCommand(program);
  registerPerplexityCommand(program);
  registerRemoteModelCommands(program);
  registerGenerateCommand(program);
  registerHarvestCommand(program);
  registerActivationsCommands(program);
  registerTrainCommands(program);
  registerSweepCommands(program);
  registerSaeCommands(program);
  registerRemoteSaeCommands(program);
  registerSaeEvaluateCommand(program);
  registerSaeProbeCommand(program);
  registerSaeHubCommands(program);
  registerSaeVerifyCommand(program);
  registerIndexCommands(program);
  registerExplainCommand(program);
  registerScoreCommand(program);
  registerSteerCommands(program);
  registerJobsCommands(program);
  program
    .command("bench")
    .description("How to measure: the benchmarks run from the clone.")
    .action(run(async ({ output }) => output.result({ command: "npm run bench" }, () => "npm run bench -- training    (or inference, index, …; see tools/bench)")));
  return program;
}

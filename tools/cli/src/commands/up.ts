import { demoModelDir } from "@mistral-sae/demo-model";
import type { Command } from "commander";
import { type CommandContext, integer, repeated, run } from "../command.ts";
import { badInput } from "../output.ts";
import { idOfFolder, userPath } from "../paths.ts";
import { endOf, runningSystem, startSystem } from "../up/index.ts";

interface UpOptions {
  readonly data: string;
  readonly model?: readonly string[];
  readonly threads?: number;
  readonly host: string;
}

/** `up`: every service in one process tree. */
export function registerUpCommand(program: Command): void {
  program
    .command("up")
    .description("Start all services and keep them running until Ctrl-C.")
    .option("--data <folder>", "folder of everything the system keeps", ".mistral-sae")
    .option("--model <[id=]folder>", "model folder to load at the start; may be given again (default: the one that ships, as demo)", repeated)
    .option("--threads <n>", "threads of all services together; every core otherwise", integer({ min: 1 }))
    .option("--host <address>", "interface to listen on", "127.0.0.1")
    .addHelpText("after", "\nExample:\n  mistral-sae up --model ./Mistral-7B-v0.3 --threads 16\n\nLogs are in <data>/logs, addresses and process ids in <data>/run.json.")
    .action(run(up));
}

async function up({ output, signal }: CommandContext, options: UpOptions): Promise<void> {
  const dataDir = userPath(options.data);
  const system = await startSystem({
    dataDir,
    models: modelsOf(options.model ?? [`demo=${demoModelDir}`]),
    threads: options.threads,
    host: options.host,
    signal,
    onReady: (service, address) => output.note(`${service.padEnd(14)}${address}`),
  });
  system.onExit(({ name, code, signal: by, restartInMs }) => {
    if (!signal.aborted) output.warn(`${name} ended (${endOf(code, by)}); it is started again in ${restartInMs} ms`);
  });
  const { addresses } = system;
  output.result({ ...addresses, data: dataDir, run: runningSystem(dataDir)?.pids ?? {} }, () =>
    [`gRPC   ${addresses.gateway}`, `page   ${addresses.http}`, `data   ${dataDir}`, "Ctrl-C stops everything."].join("\n"),
  );
  await new Promise<void>((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener("abort", () => resolve(), { once: true });
  });
  output.note("stopping");
  await system.stop();
}

function modelsOf(given: readonly string[]): Record<string, string> {
  const models: Record<string, string> = {};
  for (const text of given) {
    const split = /^([a-z0-9][a-z0-9-]{0,62})=(.+)$/s.exec(text);
    const folder = userPath(split?.[2] ?? text);
    const id = split?.[1] ?? idOfFolder(folder);
    if (models[id] !== undefined) throw badInput("two models have the same id", { field: "--model", got: text, wanted: "another id, as in --model other=FOLDER" });
    models[id] = folder;
  }
  return models;
}

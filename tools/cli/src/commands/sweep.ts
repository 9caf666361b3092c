import { SweepSchema, SweepState, SweepStateSchema, type Sweep } from "@mistral-sae/contracts/mistral_sae/training/v1/sweep";
import { TrainingRunState, TrainingRunStateSchema } from "@mistral-sae/contracts/mistral_sae/training/v1/training";
import type { Command } from "commander";
import { setTimeout as sleep } from "node:timers/promises";
import { connect, type Clients } from "../clients.ts";
import { integer, repeated, run, type CommandContext } from "../command.ts";
import { enumWord } from "../enums.ts";
import type { Column } from "../format.ts";
import { messageJson } from "../message-json.ts";
import { isAway } from "../operations.ts";
import { badInput, CliError, ExitCode, formatFields } from "../output.ts";
import { allPages, resourceName } from "../resources.ts";
import { addArchitectureOptions } from "../train/architecture-options.ts";
import { fittedToModel } from "../train/fitted.ts";
import { remoteConfig } from "../train/remote-config.ts";
import { axesOf } from "../train/sweep-axes.ts";
import { sortedResults, sweepTable, type SortOptions } from "../train/sweep-table.ts";
import { addHyperParameterOptions, addTextOptions, type TrainOptions } from "../train/train-options.ts";

interface CreateOptions extends TrainOptions, SortOptions {
  readonly axis?: readonly string[];
  readonly parallelRuns?: number;
  readonly sweepId?: string;
}

const EXAMPLE = `
Example:
  mistral-sae sweep create --corpus ./texts --hook-name blocks.2.hook_resid_pre --d-sae 2048 --training-tokens 2_000_000 \\
    --axis k=8,16,32 --axis seed=0,1,2 --sort fvu`;

const POLL_MS = 1000;
const PATIENCE_MS = 60_000;

/** `sweep`. */
export function registerSweepCommands(program: Command): void {
  const sweep = program.command("sweep").description("Train several SAEs that differ in some options, from one harvest, and compare them.");
  const create = sweep.command("create").description("Start a sweep: every combination of the axes' values becomes a training run.");
  addTextOptions(addArchitectureOptions(addHyperParameterOptions(create)))
    .optionsGroup("The sweep:")
    .option("--axis <field=a,b,...>", "an option of training and the values that it takes; may be given again, every combination is trained", repeated)
    .option("--parallel-runs <n>", "runs trained at the same time (default: 1)", integer({ min: 1 }))
    .option("--sweep-id <id>", "id of the sweep")
    .option("--request-id <id>", "makes the call idempotent")
    .option("--detach", "start the sweep and return at once")
    .option("--validate-only", "check every combination and show the runs")
    .addHelpText("after", EXAMPLE);
  addSort(create).action(
    run(async (context, options: CreateOptions) => {
      if (options.axis === undefined) throw badInput("a sweep varies something", { field: "--axis", wanted: "field=value,value,…, e.g. k=8,16,32" });
      const axes = axesOf(options.axis);
      sortedResults({ axes, results: [] }, options);
      const config = remoteConfig(await fittedToModel(options, context), axes.map(({ field }) => field));
      const clients = connect(context.address);
      const { sweepId = "", requestId = "", parallelRuns = 0, validateOnly = false } = options;
      const request = { sweepId, config, axes: axes.map(({ field, values }) => ({ field, values: [...values] })), parallelRuns, requestId, validateOnly };
      const { sweep: begun } = await clients.training.createSweep(request, { signal: context.signal });
      if (begun === undefined) throw new CliError("the training service answered without a sweep", ExitCode.failure);
      show(context, options.detach === true || validateOnly ? begun : await follow(context, clients, begun), options);
    }),
  );
  const showVerb = sweep.command("show").description("Show a sweep and what its runs have come to so far.").argument("<sweep>", "sweeps/{sweep} or its id").option("--wait", "follow it to its end first");
  addSort(showVerb).action(
    run(async (context, given: string, options: SortOptions & { readonly wait?: boolean }) => {
      const clients = connect(context.address);
      const { sweep: found } = await clients.training.getSweep({ name: resourceName("sweeps", given) }, { signal: context.signal });
      if (found === undefined) throw new CliError("the training service answered without a sweep", ExitCode.failure);
      show(context, options.wait === true ? await follow(context, clients, found) : found, options);
    }),
  );
  sweep
    .command("list")
    .alias("ls")
    .description("List sweeps, newest first.")
    .action(
      run(async ({ output, signal, address }) => {
        const clients = connect(address);
        const sweeps = await allPages(async (pageToken) => {
          const page = await clients.training.listSweeps({ pageSize: 50, pageToken }, { signal });
          return { rows: page.sweeps, nextPageToken: page.nextPageToken };
        });
        const columns: Column<Sweep>[] = [
          { header: "sweep", cell: ({ name }) => name },
          { header: "state", cell: ({ state }) => enumWord(SweepStateSchema, state) },
          { header: "runs", cell: (row) => `${endedRuns(row)} of ${row.results.length}` },
          { header: "axes", cell: ({ axes }) => axes.map(({ field, values }) => `${field}=${values.join(",")}`).join(" "), maxWidth: 60 },
        ];
        output.table(sweeps, columns, (row) => messageJson(SweepSchema, row), "no sweeps");
      }),
    );
  sweep
    .command("stop")
    .description("End a sweep and its unfinished runs for good.")
    .argument("<sweep>", "sweeps/{sweep} or its id")
    .action(
      run(async (context, given: string) => {
        const { sweep: stopped } = await connect(context.address).training.stopSweep({ name: resourceName("sweeps", given) }, { signal: context.signal });
        if (stopped !== undefined) show(context, stopped, {});
      }),
    );
}

function addSort(command: Command): Command {
  return command.option("--sort <column>", "sort the table by an axis or by fvu, l0, dead_fraction, ce_recovered, kl_recovered, train_seconds").option("--desc", "the largest first");
}

/** Waits for the end of a sweep with a bar of its runs, also across restarts of the service. */
async function follow({ output, signal }: CommandContext, clients: Clients, first: Sweep): Promise<Sweep> {
  let sweep = first;
  let awaySince: number | undefined;
  const progress = output.progress("sweep");
  try {
    while (sweep.state === SweepState.RUNNING) {
      const working = sweep.results.filter(({ state }) => isWorking(state));
      const figures = Object.fromEntries(working.slice(0, 2).map(({ trainingRun, step }) => [trainingRun.slice("trainingRuns/".length), `step ${step}`]));
      progress.update({ done: endedRuns(sweep), total: sweep.results.length, unit: "runs", figures });
      await sleep(POLL_MS, undefined, { signal });
      try {
        sweep = (await clients.training.getSweep({ name: sweep.name }, { signal })).sweep ?? sweep;
        awaySince = undefined;
      } catch (error) {
        signal.throwIfAborted();
        if (!isAway(error)) throw error;
        awaySince ??= performance.now();
        if (performance.now() - awaySince > PATIENCE_MS) throw error;
      }
    }
    progress.update({ done: endedRuns(sweep), total: sweep.results.length, unit: "runs" });
    progress.finish();
  } catch (error) {
    progress.finish("left");
    if (signal.aborted) output.note(`the sweep goes on: \`mistral-sae sweep show ${sweep.name} --wait\`, or \`sweep stop\` to end it`);
    throw error;
  }
  return sweep;
}

/** Prints a sweep; one that failed makes the command fail. */
function show({ output }: Pick<CommandContext, "output">, sweep: Sweep, sort: SortOptions): void {
  const sorted = { ...sweep, results: sortedResults(sweep, sort) };
  output.message(SweepSchema, sorted, () =>
    [
      formatFields([
        ["sweep", sweep.name],
        ["state", sweep.state === SweepState.UNSPECIFIED ? "not started" : enumWord(SweepStateSchema, sweep.state)],
        ["runs", `${endedRuns(sweep)} of ${sweep.results.length} ended`],
        ["harvest passes", sweep.harvestPasses],
      ]),
      "",
      sweepTable(sorted),
    ].join("\n"),
  );
  if (sweep.state === SweepState.FAILED) throw new CliError(`${sweep.name}: some of its runs did not succeed`, ExitCode.failure, { hint: `mistral-sae jobs resume ${sweep.operation}` });
}

function endedRuns({ results }: Sweep): number {
  const ended = [TrainingRunState.SUCCEEDED, TrainingRunState.FAILED, TrainingRunState.STOPPED].map((state) => TrainingRunStateSchema.value[state]?.name);
  return results.filter(({ state }) => ended.includes(state)).length;
}

function isWorking(state: string): boolean {
  return [TrainingRunState.HARVESTING, TrainingRunState.RUNNING, TrainingRunState.EVALUATING].some((known) => TrainingRunStateSchema.value[known]?.name === state);
}

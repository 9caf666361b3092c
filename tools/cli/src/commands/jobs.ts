import { OperationSchema, OperationStateSchema, type Operation } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";
import { timestampDate } from "@bufbuild/protobuf/wkt";
import type { Command } from "commander";
import { connect, type Clients } from "../clients.ts";
import { group, integer, run, wordList } from "../command.ts";
import { enumValue, enumWords } from "../enums.ts";
import { stateWord, waitFor } from "../operations.ts";
import { formatCount, formatFields, formatSeconds, messageJson, missing } from "../output.ts";
import { allPages } from "../resources.ts";

interface ListOptions {
  readonly kind?: readonly string[];
  readonly state?: readonly string[];
  readonly limit?: number;
}

/** `jobs ls | show | watch | wait | cancel | resume | rm`. */
export function registerJobsCommands(program: Command): void {
  const jobs = group(program, "jobs", "Long-running work of all services: harvesting, training, indexing, explaining.");
  jobs
    .command("ls")
    .description("List jobs, newest first.")
    .option("--kind <kinds>", "only these kinds, e.g. index-corpus", wordList)
    .option("--state <states>", `only these states: ${enumWords(OperationStateSchema).join(", ")}`, wordList)
    .option("--limit <n>", "at most this many", integer({ min: 1 }), 50)
    .action(
      run(async ({ output, signal, address }, options: ListOptions) => {
        const clients = connect(address);
        const states = (options.state ?? []).map((word) => enumValue(OperationStateSchema, word, "--state"));
        const limit = options.limit ?? 50;
        const operations = await allPages(async (pageToken) => {
          const page = await clients.operations.listOperations(
            { pageSize: Math.min(limit, 1000), pageToken, kinds: [...(options.kind ?? [])], states },
            { signal },
          );
          return { rows: page.operations, nextPageToken: page.nextPageToken };
        }, limit);
        output.table(
          operations,
          [
            { header: "name", cell: ({ name }) => name },
            { header: "kind", cell: ({ kind }) => kind },
            { header: "state", cell: ({ state }) => stateWord(state) },
            { header: "stage", cell: ({ progress }) => progress?.stage },
            { header: "progress", cell: shareOf },
            { header: "created", cell: ({ createTime }) => (createTime === undefined ? "" : timestampDate(createTime).toISOString().slice(0, 19)) },
          ],
          operationJson,
          "no jobs",
        );
      }),
    );
  jobs
    .command("show")
    .description("Show one job.")
    .argument("<name>", "operations/{service}/{id}")
    .action(
      run(async ({ output, signal, address }, name: string) => {
        const operation = await getOperation(connect(address), name, signal);
        output.result(operationJson(operation), () => describeOperation(operation));
      }),
    );
  for (const [verb, description] of [
    ["watch", "Follow a job with a progress bar until it is done."],
    ["wait", "Wait until a job is done, without progress; fails when the job failed."],
  ] as const) {
    jobs
      .command(verb)
      .description(description)
      .argument("<name>", "operations/{service}/{id}")
      .action(
        run(async (context, name: string) => {
          const clients = connect(context.address);
          const operation = await getOperation(clients, name, context.signal);
          const output = verb === "watch" ? context.output : context.output.silenced();
          const ended = await waitFor(clients, operation, operation.kind, { ...context, output });
          context.output.result(operationJson(ended), () => describeOperation(ended));
        }),
      );
  }
  for (const [verb, description] of [
    ["cancel", "Ask a job to stop; it can be resumed."],
    ["resume", "Take a cancelled or failed job up where it stopped."],
  ] as const) {
    jobs
      .command(verb)
      .description(description)
      .argument("<name>", "operations/{service}/{id}")
      .action(
        run(async ({ output, signal, address }, name: string) => {
          const { operations } = connect(address);
          const answer = verb === "cancel" ? await operations.cancelOperation({ name }, { signal }) : await operations.resumeOperation({ name }, { signal });
          const { operation } = answer;
          output.result(operation === undefined ? {} : operationJson(operation), () => (operation === undefined ? name : describeOperation(operation)));
        }),
      );
  }
  jobs
    .command("rm")
    .description("Forget a finished job.")
    .argument("<name>", "operations/{service}/{id}")
    .action(
      run(async ({ output, signal, address }, name: string) => {
        await connect(address).operations.deleteOperation({ name }, { signal });
        output.result({ name }, () => `${name} is forgotten`);
      }),
    );
}

async function getOperation(clients: Clients, name: string, signal: AbortSignal): Promise<Operation> {
  const { operation } = await clients.operations.getOperation({ name }, { signal });
  if (operation === undefined) throw missing(`${name} does not exist`);
  return operation;
}

function operationJson(operation: Operation): unknown {
  return messageJson(OperationSchema, operation);
}

function shareOf({ progress, done: ended }: Operation): string {
  if (progress === undefined || progress.doneUnits === 0n) return "";
  const done = formatCount(progress.doneUnits);
  // A job may end before the total that it planned with, e.g. where a text holds fewer tokens.
  if (progress.totalUnits === 0n || ended) return `${done} ${progress.unit}`;
  return `${((Number(progress.doneUnits) / Number(progress.totalUnits)) * 100).toFixed(0)}% of ${formatCount(progress.totalUnits)} ${progress.unit}`;
}

function describeOperation(operation: Operation): string {
  const { progress, result } = operation;
  const seconds = Object.entries(progress?.stageSeconds ?? {}).map(([stage, value]) => `${stage} ${formatSeconds(value)}`);
  return formatFields([
    ["job", operation.name],
    ["kind", operation.kind],
    ["state", stateWord(operation.state)],
    ["stage", progress?.stage],
    ["progress", shareOf(operation)],
    ["attempts", operation.attempts],
    ["seconds", seconds.join(", ")],
    ["warnings", progress?.warnings.join("; ")],
    ["error", result.case === "error" ? result.value.message : undefined],
    ["result", result.case === "response" ? JSON.stringify((operationJson(operation) as { readonly response?: unknown }).response) : undefined],
  ]);
}

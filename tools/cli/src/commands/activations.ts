import { DataType } from "@mistral-sae/contracts/mistral_sae/common/v1/tensor";
import { ActivationSetSchema, type ActivationSet } from "@mistral-sae/contracts/mistral_sae/training/v1/training";
import { Option, type Command } from "commander";
import { connect } from "../clients.ts";
import { group, integer, run } from "../command.ts";
import { responseOf, waitFor } from "../operations.ts";
import { formatBytes, formatCount, formatFields, messageJson } from "../output.ts";
import { corpusUri } from "../paths.ts";
import { allPages, modelName, resourceName } from "../resources.ts";

interface ImportOptions {
  readonly tensor?: string;
  readonly hookName?: string;
  readonly model?: string;
  readonly activationDtype?: keyof typeof dataTypes;
  readonly requestId?: string;
}

interface ListOptions {
  readonly limit?: number;
}

const dataTypes = { f32: DataType.F32, f16: DataType.F16, bf16: DataType.BF16 } as const;

/** `activations import | list | delete`. */
export function registerActivationsCommands(program: Command): void {
  const activations = group(program, "activations", "Stored activations: what was harvested, and rows that other programs wrote.");
  activations
    .command("import")
    .description("Store rows [n, width] of safetensors or npy files as an activation set of the training service.")
    .argument("<path...>", "files, folders or globs, taken in the order of their names")
    .option("--tensor <name>", "safetensors: the tensor with the rows (default: x, or the only matrix)")
    .option("--hook-name <hook>", "hook that the rows are of, e.g. blocks.2.hook_resid_pre")
    .option("--model <model>", "model that the rows are of; it need not be loaded")
    .addOption(new Option("--activation-dtype <type>", "type to store (default: that of the files)").choices(Object.keys(dataTypes)))
    .option("--request-id <id>", "makes the call idempotent")
    .action(
      run(async (context, paths: string[], options: ImportOptions) => {
        const clients = connect(context.address);
        const { operation } = await clients.training.importActivations(
          {
            uri: corpusUri(paths),
            tensor: options.tensor ?? "",
            hookName: options.hookName ?? "",
            model: modelName(options.model),
            requestId: options.requestId ?? "",
            ...(options.activationDtype === undefined ? {} : { activationDtype: dataTypes[options.activationDtype] }),
          },
          { signal: context.signal },
        );
        const set = responseOf(await waitFor(clients, operation, "import", context), ActivationSetSchema);
        context.output.message(ActivationSetSchema, set, () => describeSet(set));
      }),
    );
  activations
    .command("list")
    .alias("ls")
    .description("List stored activation sets.")
    .option("--limit <n>", "at most this many", integer({ min: 1 }), 50)
    .action(
      run(async ({ output, signal, address }, options: ListOptions) => {
        const clients = connect(address);
        const limit = options.limit ?? 50;
        let totalBytes = 0n;
        const sets = await allPages(async (pageToken) => {
          const page = await clients.training.listActivationSets({ pageSize: Math.min(limit, 1000), pageToken }, { signal });
          totalBytes = page.totalBytes;
          return { rows: page.activationSets, nextPageToken: page.nextPageToken };
        }, limit);
        output.table(
          sets,
          [
            { header: "name", cell: ({ name }) => name },
            { header: "hook", cell: ({ hookName }) => hookName },
            { header: "width", cell: ({ width }) => String(width), align: "right" },
            { header: "tokens", cell: ({ tokens }) => formatCount(tokens), align: "right" },
            { header: "shards", cell: ({ shards }) => String(shards), align: "right" },
            { header: "size", cell: ({ sizeBytes }) => formatBytes(sizeBytes), align: "right" },
          ],
          (set) => messageJson(ActivationSetSchema, set),
          "no activation sets",
        );
        output.note(`${formatBytes(totalBytes)} in all`);
      }),
    );
  activations
    .command("delete")
    .alias("rm")
    .description("Delete an activation set that no unfinished run reads.")
    .argument("<set>", "activationSets/{set} or its id")
    .action(
      run(async ({ output, signal, address }, given: string) => {
        const name = resourceName("activationSets", given);
        await connect(address).training.deleteActivationSet({ name }, { signal });
        output.result({ deleted: name }, () => `deleted ${name}`);
      }),
    );
}

function describeSet({ name, hookName, width, tokens, shards, sizeBytes, uri }: ActivationSet): string {
  return formatFields([
    ["name", name],
    ["hook", hookName],
    ["width", String(width)],
    ["tokens", formatCount(tokens)],
    ["shards", String(shards)],
    ["size", formatBytes(sizeBytes)],
    ["folder", uri],
  ]);
}

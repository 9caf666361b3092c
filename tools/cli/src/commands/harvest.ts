import { DataType } from "@mistral-sae/contracts/mistral_sae/common/v1/tensor";
import { HarvestedActivationsSchema } from "@mistral-sae/contracts/mistral_sae/training/v1/training";
import { Option, type Command } from "commander";
import { connect } from "../clients.ts";
import { integer, run, wordList } from "../command.ts";
import { responseOf, waitFor } from "../operations.ts";
import { formatCount, formatTable } from "../output.ts";
import { corpusUri } from "../paths.ts";
import { modelName } from "../resources.ts";

interface HarvestOptions {
  readonly hookNames: readonly string[];
  readonly corpus: readonly string[];
  readonly model?: string;
  readonly contextSize?: number;
  readonly activationDtype?: keyof typeof dataTypes;
  readonly tokens?: number;
  readonly requestId?: string;
}

const dataTypes = { f32: DataType.F32, f16: DataType.F16, bf16: DataType.BF16 } as const;

/** `harvest`. */
export function registerHarvestCommand(program: Command): void {
  program
    .command("harvest")
    .description("Keep the activations of one or several hooks from one pass of the model, for `train` on the same text to read.")
    .requiredOption("--hook-names <a,b,...>", "hooks to read, e.g. blocks.2.hook_resid_pre,blocks.1.mlp.hook_post", wordList)
    .requiredOption("--corpus <path...>", "text: jsonl, jsonl.zst, txt, md, parquet; files, folders or globs")
    .option("--model <model>", "models/{model} or its id; the only one loaded otherwise")
    .option("--context-size <n>", "tokens of a window, BOS included (default: 128)", integer({ min: 2 }))
    .addOption(new Option("--activation-dtype <type>", "type of stored activations (default: bf16)").choices(Object.keys(dataTypes)))
    .option("--tokens <n>", "stop at this many rows of each hook; the whole corpus otherwise", integer({ min: 1 }))
    .option("--request-id <id>", "makes the call idempotent")
    .action(
      run(async (context, options: HarvestOptions) => {
        const clients = connect(context.address);
        const { operation } = await clients.training.harvestActivations(
          {
            model: modelName(options.model),
            hookNames: [...options.hookNames],
            corpus: { uri: corpusUri(options.corpus) },
            contextSize: options.contextSize ?? 0,
            tokens: BigInt(options.tokens ?? 0),
            requestId: options.requestId ?? "",
            ...(options.activationDtype === undefined ? {} : { activationDtype: dataTypes[options.activationDtype] }),
          },
          { signal: context.signal },
        );
        const done = responseOf(await waitFor(clients, operation, "harvest", context), HarvestedActivationsSchema);
        context.output.message(HarvestedActivationsSchema, done, () =>
          formatTable(done.activationSets, [
            { header: "hook", cell: ({ hookName }) => hookName },
            { header: "width", cell: ({ width }) => String(width), align: "right" },
            { header: "tokens", cell: ({ tokens }) => formatCount(tokens), align: "right" },
            { header: "shards", cell: ({ shards }) => String(shards), align: "right" },
            { header: "folder", cell: ({ uri }) => uri },
          ]),
        );
      }),
    );
}

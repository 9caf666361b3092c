import { FeatureIndexSchema, IndexStateSchema, type FeatureIndex } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import type { Command } from "commander";
import { connect } from "../clients.ts";
import { integer, run } from "../command.ts";
import { enumWord } from "../enums.ts";
import { responseOf, waitFor } from "../operations.ts";
import { formatBytes, formatCount, formatFields, messageJson } from "../output.ts";
import { allPages, resolveSae, resourceName } from "../resources.ts";

interface BuildOptions {
  readonly sae?: string;
  readonly corpus: string;
  readonly maxTokens?: number;
  readonly includeSpecialTokens?: boolean;
}

/** `index build | ls | rm`. */
export function registerBuildVerbs(index: Command): void {
  index
    .command("build")
    .description("Encode a corpus with an SAE and build its index.")
    .requiredOption("--corpus <corpus>", "corpora/{corpus} or its id")
    .option("--sae <sae>", "the SAE; the only one loaded otherwise")
    .option("--max-tokens <n>", "tokens to index at most", integer({ min: 1 }))
    .option("--include-special-tokens", "count special tokens in statistics and examples too")
    .action(
      run(async (context, options: BuildOptions) => {
        const { signal } = context;
        const clients = connect(context.address);
        const { operation } = await clients.featureIndex.indexCorpus(
          {
            sae: await resolveSae(clients, options.sae, signal),
            corpus: resourceName("corpora", options.corpus),
            maxTokens: BigInt(options.maxTokens ?? 0),
            includeSpecialTokens: options.includeSpecialTokens ?? false,
          },
          { signal },
        );
        const built = responseOf(await waitFor(clients, operation, "index", context), FeatureIndexSchema);
        context.output.message(FeatureIndexSchema, built, () => describeIndex(built));
      }),
    );
  index
    .command("ls")
    .description("List indexes, newest first.")
    .option("--checksums", "hash every table's ordered rows too")
    .action(
      run(async ({ output, signal, address }, options: { readonly checksums?: boolean }) => {
        const clients = connect(address);
        const indexes = await allPages(async (pageToken) => {
          const request = { pageSize: 1000, pageToken, withTableChecksums: options.checksums ?? false };
          const page = await clients.featureIndex.listIndexes(request, { signal });
          return { rows: page.indexes, nextPageToken: page.nextPageToken };
        });
        if (options.checksums === true && !output.json) return output.line(indexes.map(describeIndex).join("\n\n"));
        output.table(
          indexes,
          [
            { header: "name", cell: ({ name }) => name },
            { header: "state", cell: ({ state }) => enumWord(IndexStateSchema, state) },
            { header: "SAE", cell: ({ sae }) => sae },
            { header: "corpus", cell: ({ corpus }) => corpus },
            { header: "tokens", cell: ({ nTokens }) => nTokens },
            { header: "activations", cell: ({ nActivations }) => nActivations },
            { header: "alive", cell: ({ nFeaturesAlive, dSae }) => `${formatCount(nFeaturesAlive)} of ${formatCount(dSae)}` },
          ],
          (row) => messageJson(FeatureIndexSchema, row),
          "no index; build one with `mistral-sae index build --corpus ID`",
        );
      }),
    );
  index
    .command("rm")
    .description("Delete an index.")
    .argument("<index>", "indexes/{index} or its id")
    .action(
      run(async ({ output, signal, address }, given: string) => {
        const name = resourceName("indexes", given);
        await connect(address).featureIndex.deleteIndex({ name }, { signal });
        output.result({ name }, () => `${name} is deleted`);
      }),
    );
}

/** An index as lines of text. */
export function describeIndex(index: FeatureIndex): string {
  return formatFields([
    ["index", index.name],
    ["state", enumWord(IndexStateSchema, index.state)],
    ["SAE", index.sae],
    ["corpus", index.corpus],
    ["tokens", formatCount(index.nTokens)],
    ["activations", formatCount(index.nActivations)],
    ["features alive", `${formatCount(index.nFeaturesAlive)} of ${formatCount(index.dSae)}`],
    ...Object.entries(index.tableBytes).map(([table, bytes]) => [`size of ${table}`, formatBytes(bytes)] as const),
    ...Object.entries(index.tableChecksums).map(([table, hash]) => [`hash of ${table}`, hash] as const),
  ]);
}

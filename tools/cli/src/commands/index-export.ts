import { resolve } from "node:path";
import { ExportedFilesSchema } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import type { Command } from "commander";
import { connect } from "../clients.ts";
import { run } from "../command.ts";
import { responseOf, waitFor } from "../operations.ts";
import { formatBytes, formatFields } from "../output.ts";
import { resourceName } from "../resources.ts";

/** `index export`: an index as files for other programs. */
export function registerExportVerb(index: Command): void {
  index
    .command("export")
    .description("Write an index as Parquet files: one for each view of `index sql`, and one for each eight million activations.")
    .argument("<index>", "indexes/{index} or its id")
    .option("--out <folder>", "empty folder on the machine of the feature index; one below its data folder otherwise")
    .action(
      run(async (context, given: string, { out }: { readonly out?: string }) => {
        const { signal } = context;
        const clients = connect(context.address);
        const uri = out === undefined ? "" : resolve(out);
        const { operation } = await clients.featureIndex.exportParquet({ index: resourceName("indexes", given), uri }, { signal });
        const files = responseOf(await waitFor(clients, operation, "export", context), ExportedFilesSchema);
        context.output.message(ExportedFilesSchema, files, () => formatFields([["folder", files.uri], ["files", files.fileNames.join(", ")], ["size", formatBytes(files.sizeBytes)]]));
      }),
    );
}

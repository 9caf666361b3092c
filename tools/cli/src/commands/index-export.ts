import { resolve } from "node:path";
import { ExportedFilesSchema } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import { type Command, Option } from "commander";
import { connect } from "../clients.ts";
import { run } from "../command.ts";
import { responseOf, waitFor } from "../operations.ts";
import { formatBytes, formatCount, formatFields } from "../output.ts";
import { resourceName } from "../resources.ts";

/** The call of each format. */
const exporters = {
  parquet: "exportParquet",
  neuronpedia: "exportNeuronpedia",
  saedashboard: "exportSaeDashboard",
  delphi: "exportDelphiCache",
} as const;

interface ExportOptions {
  readonly format: keyof typeof exporters;
  readonly out?: string;
}

/** `index export`: an index as files for other programs. */
export function registerExportVerb(index: Command): void {
  index
    .command("export")
    .description("Write an index as files for other programs: Parquet (one file for each view of `index sql`, and one for each eight million activations), Neuronpedia's batches, SAEDashboard's batch json, or Delphi's latent cache.")
    .argument("<index>", "indexes/{index} or its id")
    .addOption(new Option("--format <format>", "format of the files").choices(Object.keys(exporters)).default("parquet"))
    .option("--out <folder>", "empty folder on the machine of the feature index; one below its data folder otherwise")
    .action(
      run(async (context, given: string, { format, out }: ExportOptions) => {
        const { signal } = context;
        const clients = connect(context.address);
        const uri = out === undefined ? "" : resolve(out);
        const request = { index: resourceName("indexes", given), uri };
        const { operation } = await clients.featureIndex[exporters[format]](request, { signal });
        const files = responseOf(await waitFor(clients, operation, "export", context), ExportedFilesSchema);
        context.output.message(ExportedFilesSchema, files, () => formatFields([["folder", files.uri], ["files", formatCount(files.fileNames.length)], ["size", formatBytes(files.sizeBytes)]]));
      }),
    );
}

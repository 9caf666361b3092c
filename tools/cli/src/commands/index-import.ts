import { resolve } from "node:path";
import { FeatureIndexSchema } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import { type Command, Option } from "commander";
import { connect } from "../clients.ts";
import { run } from "../command.ts";
import { responseOf, waitFor } from "../operations.ts";
import { resolveSae } from "../resources.ts";
import { describeIndex } from "./index-build.ts";

/** The call of each format. */
const importers = {
  neuronpedia: "importNeuronpedia",
  saedashboard: "importSaeDashboard",
  delphi: "importDelphiCache",
} as const;

interface ImportOptions {
  readonly format: keyof typeof importers;
  readonly sae?: string;
}

/** `index import`: what other programs made of an SAE as an index. */
export function registerImportVerb(index: Command): void {
  index
    .command("import")
    .description(
      "Make an index of what another program wrote: Neuronpedia's batches ({modelId}/{sourceId}/features/batch-N.jsonl.gz and so on), SAEDashboard's batch-N.json, or Delphi's latent cache ({module}/{first}_{last}.safetensors). Dashboards hold examples of each feature, not all of its activations; what they do not tell stays unknown. All files are checked before anything is stored, and files that are damaged leave nothing behind.",
    )
    .argument("<folder>", "folder on the machine of the feature index")
    .addOption(new Option("--format <format>", "program that wrote it").choices(Object.keys(importers)).makeOptionMandatory())
    .option("--sae <sae>", "the SAE that it describes, registered; for a Delphi cache it must be loaded; the only one loaded otherwise")
    .action(
      run(async (context, folder: string, { format, sae }: ImportOptions) => {
        const { signal } = context;
        const clients = connect(context.address);
        const request = { uri: resolve(folder), sae: await resolveSae(clients, sae, signal) };
        const { operation } = await clients.featureIndex[importers[format]](request, { signal });
        const made = responseOf(await waitFor(clients, operation, "import", context), FeatureIndexSchema);
        context.output.message(FeatureIndexSchema, made, () => describeIndex(made));
      }),
    );
}

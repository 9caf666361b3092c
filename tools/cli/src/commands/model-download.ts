import { downloadModel, parseHubId, readHubSettings } from "@mistral-sae/hub";
import type { Command } from "commander";
import { group, integer, run, type CommandContext } from "../command.ts";
import { formatBytes, formatFields } from "../output.ts";

interface DownloadCommandOptions {
  readonly revision?: string;
  readonly parallel?: number;
}

/** `model download`. */
export function registerDownloadCommand(program: Command): void {
  group(program, "model", "Models: what is loaded, loading, what a folder holds.")
    .command("download")
    .description("Bring a model of the Hugging Face hub into the cache that Python's huggingface_hub uses too, and tell its folder.")
    .argument("<id>", "owner/name, or owner/name@revision")
    .option("--revision <revision>", "branch, tag or commit (default: main)")
    .option("--parallel <n>", "files at a time (default: 4)", integer({ min: 1, max: 32 }))
    .addHelpText(
      "after",
      `
A download that was cut off goes on where it ended; every checksum is verified. The environment is read as huggingface_hub
reads it: HF_TOKEN, HF_HOME, HF_HUB_CACHE, HF_ENDPOINT, HF_HUB_OFFLINE.

Example:
  mistral-sae model download mistralai/Mistral-7B-v0.3`,
    )
    .action(run(download));
}

async function download({ output, signal }: CommandContext, id: string, { revision, parallel }: DownloadCommandOptions): Promise<void> {
  const model = parseHubId(id, revision);
  const settings = await readHubSettings();
  const progress = output.progress("download");
  let bytes = 0;
  let files = 0;
  const folder = await downloadModel(model, {
    settings,
    signal,
    onProgress: ({ doneBytes, totalBytes, doneFiles, totalFiles }) => {
      bytes = totalBytes;
      files = totalFiles;
      progress.update({ done: doneBytes, total: totalBytes, unit: "bytes", figures: { files: `${doneFiles}/${totalFiles}` } });
    },
    ...(parallel === undefined ? {} : { parallel }),
  });
  progress.finish();
  output.result({ id: model.id, revision: model.revision, folder, files, bytes }, () =>
    formatFields([
      ["model", `${model.id} at ${model.revision}`],
      ["folder", folder],
      ["files", files === 0 ? "all in the cache already" : `${files}, ${formatBytes(bytes)}`],
    ]),
  );
}

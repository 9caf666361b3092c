import { downloadSae, parseHubId, readHubSettings, uploadSae } from "@mistral-sae/hub";
import { loadSae } from "@mistral-sae/sae";
import type { Command } from "commander";
import { group, integer, run, type CommandContext } from "../command.ts";
import { badInput, formatFields } from "../output.ts";
import { idOfFolder, userPath } from "../paths.ts";

interface DownloadOptions {
  readonly revision?: string;
  readonly parallel?: number;
}

interface UploadOptions {
  readonly saeId?: string;
  readonly revision?: string;
  readonly private?: boolean;
  readonly card: boolean;
}

const ENVIRONMENT = "The environment is read as huggingface_hub reads it: HF_TOKEN, HF_HOME, HF_HUB_CACHE, HF_ENDPOINT, HF_HUB_OFFLINE.";

/** `sae download | upload`: SAEs on the Hugging Face hub. */
export function registerSaeHubCommands(program: Command): void {
  const sae = group(program, "sae", "Sparse autoencoders: the registry of the running system, and folders on disk.");
  sae
    .command("download")
    .description("Bring an SAE of the Hugging Face hub into the cache that Python's huggingface_hub uses too, and tell its folder.")
    .argument("<id>", "owner/name, or owner/name@revision")
    .argument("[folder]", "folder of the SAE in the repository (SAELens' sae_id); needed where there are several")
    .option("--revision <revision>", "branch, tag or commit (default: main)")
    .option("--parallel <n>", "files at a time (default: 4)", integer({ min: 1, max: 32 }))
    .addHelpText("after", `\nA download that was cut off goes on where it ended; every checksum is verified. ${ENVIRONMENT}\n\nExample:\n  mistral-sae sae download tylercosgrove/mistral-7b-sparse-autoencoder-layer16`)
    .action(run(download));
  sae
    .command("upload")
    .description("Put a SAELens folder into a repository of the Hugging Face hub, where SAE.from_pretrained(id, sae_id) finds it.")
    .argument("<folder>", "SAE of SAELens; `sae convert` makes one of any other format")
    .argument("<id>", "owner/name; made when it is missing")
    .option("--sae-id <id>", "folder in the repository; the hook that the SAE names otherwise")
    .option("--revision <branch>", "branch to commit to (default: main)")
    .option("--private", "make a repository that is missing a private one")
    .option("--no-card", "add no README.md to a repository without one")
    .addHelpText("after", `\nOne commit holds cfg.json, sae_weights.safetensors, sparsity.safetensors and runner_cfg.json, as far as they are there. ${ENVIRONMENT}\n\nExample:\n  mistral-sae sae upload runs/layer16 me/mistral-saes --sae-id blocks.16.hook_resid_post`)
    .action(run(upload));
}

async function download({ output, signal }: CommandContext, id: string, folder: string | undefined, { revision, parallel }: DownloadOptions): Promise<void> {
  const repository = parseHubId(id, revision);
  const progress = output.progress("download");
  const path = await downloadSae(repository, {
    settings: await readHubSettings(),
    signal,
    folder,
    onProgress: ({ doneBytes, totalBytes, doneFiles, totalFiles }) => progress.update({ done: doneBytes, total: totalBytes, unit: "bytes", figures: { files: `${doneFiles}/${totalFiles}` } }),
    ...(parallel === undefined ? {} : { parallel }),
  });
  progress.finish();
  output.result({ id: repository.id, revision: repository.revision, folder: path }, () =>
    formatFields([
      ["repository", `${repository.id} at ${repository.revision}`],
      ["folder", path],
    ]),
  );
}

async function upload({ output, signal }: CommandContext, folder: string, id: string, { saeId, revision, private: isPrivate = false, card }: UploadOptions): Promise<void> {
  const path = userPath(folder);
  const repository = parseHubId(id, revision);
  // What does not load here would not load for anybody else.
  const { sae, source } = await loadSae(path);
  if (source.format !== "saelens") {
    throw badInput("only folders of SAELens 6 are uploaded", { field: "folder", got: source.format, wanted: "saelens", hint: "`mistral-sae sae convert` writes one" });
  }
  const hook = sae.config.metadata["hook_name"];
  const progress = output.progress("upload");
  const sent = await uploadSae(path, repository, saeId ?? (typeof hook === "string" && hook !== "" ? hook : idOfFolder(path)), {
    settings: await readHubSettings(),
    isPrivate,
    card,
    signal,
    onProgress: (file, part) => progress.update({ done: Math.round(part * 100), total: 100, unit: "%", figures: { file } }),
  });
  progress.finish();
  output.result({ id: repository.id, commit: sent.commit, url: sent.url, files: sent.files, created_repository: sent.createdRepository }, () =>
    formatFields([
      ["repository", `${repository.id} at ${repository.revision}${sent.createdRepository ? ", made now" : ""}`],
      ["commit", sent.url],
      ["files", sent.files.join(", ")],
    ]),
  );
}

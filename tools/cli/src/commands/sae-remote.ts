import { SaeSchema, SaeStateSchema, ValidationPolicySchema, type Sae } from "@mistral-sae/contracts/mistral_sae/sae/v1/sae";
import { ModelState } from "@mistral-sae/contracts/mistral_sae/inference/v1/model";
import type { Command } from "commander";
import { connect } from "../clients.ts";
import { group, run } from "../command.ts";
import { enumValue, enumWord, enumWords } from "../enums.ts";
import { responseOf, waitFor } from "../operations.ts";
import { badInput, formatCount, formatFields, messageJson } from "../output.ts";
import { idOfFolder, userPath } from "../paths.ts";
import { allSaes, modelName, resolveSae } from "../resources.ts";

interface RegisterOptions {
  readonly id?: string;
  readonly model?: string;
  readonly hook?: string;
  readonly hookReason?: string;
  readonly validate?: string;
}

/** `sae ls | show | register | load | unload | rm`: the SAEs of the running system. */
export function registerRemoteSaeCommands(program: Command): void {
  const sae = group(program, "sae", "Sparse autoencoders: the registry of the running system, and folders on disk.");
  sae
    .command("ls")
    .description("List the SAEs of the running system.")
    .option("--model <model>", "only those of this model")
    .action(
      run(async ({ output, signal, address }, options: { readonly model?: string }) => {
        const saes = await allSaes(connect(address), signal, modelName(options.model));
        output.table(
          saes,
          [
            { header: "name", cell: ({ name }) => name },
            { header: "state", cell: ({ state }) => enumWord(SaeStateSchema, state) },
            { header: "hook", cell: ({ hookName }) => hookName },
            { header: "d_in", cell: ({ dIn }) => dIn },
            { header: "d_sae", cell: ({ dSae }) => dSae },
            { header: "architecture", cell: ({ architecture }) => architecture },
            { header: "k", cell: ({ k }) => k },
            { header: "FVU", cell: ({ validation }) => validation?.fvu },
          ],
          (row) => messageJson(SaeSchema, row),
          "no SAE is registered; train one, or register a folder with `mistral-sae sae register DIR`",
        );
      }),
    );
  sae
    .command("show")
    .description("Show one registered SAE.")
    .argument("[sae]", "models/{model}/saes/{sae}, model/sae or its id; the only one loaded otherwise")
    .action(
      run(async ({ output, signal, address }, given: string | undefined) => {
        const clients = connect(address);
        const { sae: found } = await clients.sae.getSae({ name: await resolveSae(clients, given, signal) }, { signal });
        if (found !== undefined) output.message(SaeSchema, found, () => describeSae(found));
      }),
    );
  sae
    .command("register")
    .description("Register an SAE folder, check it against the model and load it.")
    .argument("<folder>", "SAE folder in any of the formats read")
    .option("--id <id>", "id to give it; made from the folder's name otherwise")
    .option("--model <model>", "model it belongs to; the only one loaded otherwise")
    .option("--hook <hook_name>", "hook that wins over the one its file names")
    .option("--hook-reason <text>", "why --hook is given")
    .option("--validate <policy>", `what to do with an SAE that does not fit: ${enumWords(ValidationPolicySchema).join(", ")}`, "refuse")
    .action(
      run(async (context, folder: string, options: RegisterOptions) => {
        const { signal } = context;
        const clients = connect(context.address);
        const validate = enumValue(ValidationPolicySchema, options.validate ?? "refuse", "--validate");
        const parent = modelName(options.model) === "" ? await onlyModel(context.address, signal) : modelName(options.model);
        const path = userPath(folder);
        const { operation } = await clients.sae.createSae(
          {
            parent,
            saeId: options.id ?? idOfFolder(path),
            uri: path,
            validate,
            hookOverrideReason: options.hookReason ?? (options.hook === undefined ? "" : "given on the command line"),
            ...(options.hook === undefined ? {} : { hookName: options.hook }),
          },
          { signal },
        );
        const made = responseOf(await waitFor(clients, operation, "register", context), SaeSchema);
        context.output.message(SaeSchema, made, () => describeSae(made));
      }),
    );
  for (const [verb, description] of [
    ["load", "Load a registered SAE."],
    ["unload", "Free a loaded SAE; it stays registered."],
  ] as const) {
    sae
      .command(verb)
      .description(description)
      .argument("<sae>", "models/{model}/saes/{sae}, model/sae or its id")
      .action(
        run(async ({ output, signal, address }, given: string) => {
          const clients = connect(address);
          const name = await resolveSae(clients, given, signal);
          const answer = verb === "load" ? await clients.sae.loadSae({ name }, { signal }) : await clients.sae.unloadSae({ name }, { signal });
          const { sae: changed } = answer;
          output.result(changed === undefined ? {} : messageJson(SaeSchema, changed), () => `${name} is ${verb === "load" ? "loaded" : "freed"}`);
        }),
      );
  }
  sae
    .command("rm")
    .description("Forget an SAE; its folder stays where it is.")
    .argument("<sae>", "models/{model}/saes/{sae}, model/sae or its id")
    .option("--force", "even while it is loaded")
    .action(
      run(async ({ output, signal, address }, given: string, options: { readonly force?: boolean }) => {
        const clients = connect(address);
        const name = await resolveSae(clients, given, signal);
        await clients.sae.deleteSae({ name, force: options.force ?? false }, { signal });
        output.result({ name }, () => `${name} is forgotten`);
      }),
    );
}

async function onlyModel(address: string, signal: AbortSignal): Promise<string> {
  const listed = await connect(address).inference.listModels({}, { signal });
  const models = listed.models.filter(({ state }) => state === ModelState.READY);
  const [first] = models;
  if (models.length === 1 && first !== undefined) return first.name;
  throw badInput("which model does the SAE belong to?", {
    field: "--model",
    wanted: models.length === 0 ? "a loaded model; none is" : models.map(({ name }) => name).join(" or "),
  });
}

function describeSae(sae: Sae): string {
  const { validation } = sae;
  return formatFields([
    ["SAE", sae.name],
    ["state", `${enumWord(SaeStateSchema, sae.state)} ${sae.stateDetail}`.trim()],
    ["hook", sae.hookName],
    ["hook in its file", sae.fileHookName === sae.hookName ? "" : sae.fileHookName],
    ["architecture", sae.k === undefined ? sae.architecture : `${sae.architecture}, k ${sae.k}`],
    ["d_in", sae.dIn],
    ["d_sae", formatCount(sae.dSae)],
    ["normalisation", sae.normalizeActivations],
    ["context", sae.contextSize],
    ["FVU", validation?.fvu],
    ["L0", validation?.l0],
    ["verdict", validation?.verdict],
    ["folder", sae.uri],
    ["digest", sae.digest],
  ]);
}

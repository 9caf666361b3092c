import { GetCapabilitiesResponseSchema } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import { ModelSchema, ModelStateSchema, Precision, PrecisionSchema, type HookCapability, type Model } from "@mistral-sae/contracts/mistral_sae/inference/v1/model";
import type { Command } from "commander";
import { connect } from "../clients.ts";
import { group, run } from "../command.ts";
import { enumValue, enumWord, enumWords } from "../enums.ts";
import { responseOf, waitFor } from "../operations.ts";
import { formatCount, formatFields, formatTable, messageJson } from "../output.ts";
import { modelUri } from "../paths.ts";
import { allPages, modelName } from "../resources.ts";

/** `model ls | load | unload | show`: the models of the running inference service. */
export function registerRemoteModelCommands(program: Command): void {
  const model = group(program, "model", "Models: what is loaded, loading, what a folder holds.");
  model
    .command("ls")
    .description("List the models of the running system.")
    .action(
      run(async ({ output, signal, address }) => {
        const clients = connect(address);
        const models = await allPages(async (pageToken) => {
          const page = await clients.inference.listModels({ pageSize: 1000, pageToken }, { signal });
          return { rows: page.models, nextPageToken: page.nextPageToken };
        });
        output.table(
          models,
          [
            { header: "name", cell: ({ name }) => name },
            { header: "state", cell: ({ state }) => enumWord(ModelStateSchema, state) },
            { header: "architecture", cell: ({ architecture }) => architecture },
            { header: "layers", cell: ({ nLayers }) => nLayers },
            { header: "d_model", cell: ({ dModel }) => dModel },
            { header: "vocab", cell: ({ dVocab }) => dVocab },
            { header: "context", cell: ({ nCtx }) => nCtx },
            { header: "precision", cell: ({ precision }) => enumWord(PrecisionSchema, precision) },
            { header: "folder", cell: ({ uri }) => uri },
          ],
          (row) => messageJson(ModelSchema, row),
          "no model is loaded; load one with `mistral-sae model load DIR`",
        );
      }),
    );
  model
    .command("load")
    .description("Load a model from a folder, or from the model hub.")
    .argument("<folder>", "folder with config.json, *.safetensors and tokenizer.json, or a hub id such as org/name")
    .option("--id <id>", "id to give it; the folder's name otherwise")
    .option("--precision <precision>", `arithmetic: ${enumWords(PrecisionSchema).join(", ")}`)
    .action(
      run(async (context, folder: string, options: { readonly id?: string; readonly precision?: string }) => {
        const clients = connect(context.address);
        const precision = options.precision === undefined ? Precision.UNSPECIFIED : enumValue(PrecisionSchema, options.precision, "--precision");
        const { operation } = await clients.inference.loadModel({ modelId: options.id ?? "", uri: await modelUri(folder), precision }, { signal: context.signal });
        const loaded = responseOf(await waitFor(clients, operation, "load", context), ModelSchema);
        context.output.message(ModelSchema, loaded, () => describeModel(loaded));
      }),
    );
  model
    .command("unload")
    .description("Free a loaded model.")
    .argument("<model>", "models/{model} or its id")
    .action(
      run(async ({ output, signal, address }, name: string) => {
        const { model: freed } = await connect(address).inference.unloadModel({ name: modelName(name) }, { signal });
        output.result(freed === undefined ? {} : messageJson(ModelSchema, freed), () => `${modelName(name)} is freed`);
      }),
    );
  model
    .command("show")
    .description("Tell what a loaded model can do: hooks, limits, SAEs.")
    .argument("[model]", "models/{model} or its id; the only one loaded otherwise")
    .action(
      run(async ({ output, signal, address }, name: string | undefined) => {
        const answer = await connect(address).inference.getCapabilities({ model: modelName(name) }, { signal });
        output.message(GetCapabilitiesResponseSchema, answer, () =>
          [
            answer.model === undefined ? "" : describeModel(answer.model),
            formatFields([
              ["engine", answer.backend],
              ["SAEs", answer.saes.join(", ")],
            ]),
            hookTable(answer.hooks),
          ].join("\n\n"),
        );
      }),
    );
}

function hookTable(hooks: readonly HookCapability[]): string {
  const served = hooks.filter(({ readable, writable }) => readable || writable);
  const table = formatTable(served, [
    { header: "hook", cell: ({ hookName }) => hookName },
    { header: "width", cell: ({ width }) => width },
    { header: "read", cell: ({ readable }) => (readable ? "yes" : "no") },
    { header: "write", cell: ({ writable }) => (writable ? "yes" : "no") },
  ]);
  const refused = hooks.length - served.length;
  return refused === 0 ? table : `${table}\n${refused} more are not served; --json lists them with the reasons`;
}

function describeModel(model: Model): string {
  return formatFields([
    ["model", model.name],
    ["state", `${enumWord(ModelStateSchema, model.state)} ${model.stateDetail}`.trim()],
    ["architecture", model.architecture],
    ["layers", model.nLayers],
    ["d_model", model.dModel],
    ["heads", `${model.nHeads} (${model.nKeyValueHeads} for keys and values)`],
    ["vocabulary", formatCount(model.dVocab)],
    ["context", formatCount(model.nCtx)],
    ["precision", enumWord(PrecisionSchema, model.precision)],
    ["folder", model.uri],
    ["digest", model.digest],
  ]);
}

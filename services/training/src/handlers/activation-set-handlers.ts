import type { TrainingService } from "@mistral-sae/contracts/mistral_sae/training/v1/training";
import { failedPrecondition, nextPageToken, notFound, pageStart, parseName, type Handlers } from "@mistral-sae/rpc";
import { readersOf } from "../activations/readers.ts";
import { SetCatalogue } from "../activations/set-catalogue.ts";
import { resolveImport } from "../import/resolve-import.ts";
import { isWriting } from "../jobs/harvest-stage.ts";
import { IMPORT_KIND } from "../jobs/import-job.ts";
import { runName } from "../runs/run-message.ts";
import { activationSetMessage } from "../wire/activation-set.ts";
import type { TrainingParts } from "./training-handlers.ts";

type Methods = "importActivations" | "listActivationSets" | "deleteActivationSet";

/** The calls that concern stored activation sets. */
export function activationSetHandlers({ engine, store, folder, shardBytes }: TrainingParts): Pick<Handlers<typeof TrainingService>, Methods> {
  const catalogue = new SetCatalogue(folder.activations);
  return {
    importActivations: async (request) => {
      await resolveImport(request, folder.activations);
      return { operation: engine.start(IMPORT_KIND, request, { requestId: request.requestId }) };
    },
    listActivationSets: async (request) => {
      const { size, after = "" } = pageStart(request, "activation-sets");
      const sets = await catalogue.list();
      const rest = sets.filter((set) => set.folder > after);
      const page = rest.slice(0, size);
      const last = page.at(-1);
      return {
        activationSets: page.map((set) => activationSetMessage(set, folder.activations)),
        nextPageToken: rest.length > size && last !== undefined ? nextPageToken(last.folder, "activation-sets") : "",
        totalBytes: BigInt(sets.reduce((sum, set) => sum + set.sizeBytes, 0)),
      };
    },
    deleteActivationSet: async ({ name }) => {
      const { set } = parseName("activationSets/{set}", name, "name");
      if ((await catalogue.find(set)) === undefined) throw notFound(name);
      const readers = readersOf(store, folder, shardBytes).get(set) ?? [];
      if (readers.length > 0) throw failedPrecondition("SET_IN_USE", `${name} is read by ${readers.map(runName).join(", ")}: wait for its end, or stop it`);
      if (isWriting(set)) throw failedPrecondition("SET_IN_USE", `${name} is being written: wait, or cancel the operation that writes it`);
      await catalogue.remove(set);
      return {};
    },
  };
}

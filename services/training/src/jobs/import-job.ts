import { create, fromJson, toJson } from "@bufbuild/protobuf";
import { activationKey } from "@mistral-sae/activations";
import { ActivationSetSchema, ImportActivationsRequestSchema } from "@mistral-sae/contracts/mistral_sae/training/v1/training";
import { defineJob, type Job } from "@mistral-sae/jobs";
import { failedPrecondition, internal } from "@mistral-sae/rpc";
import { SetCatalogue } from "../activations/set-catalogue.ts";
import { resolveImport } from "../import/resolve-import.ts";
import type { Imported } from "../import/import-plan.ts";
import { runStage } from "../threads/run-stage.ts";
import { activationSetMessage } from "../wire/activation-set.ts";
import { whileWriting } from "./harvest-stage.ts";
import { stageListener } from "./stage-listener.ts";
import type { JobDependencies } from "./train-job.ts";

export const IMPORT_KIND = "import-activations";

/** Stores rows that another program wrote, and takes up where it was stopped. */
export function importJob({ folder }: JobDependencies): Job {
  return defineJob({
    kind: IMPORT_KIND,
    input: ImportActivationsRequestSchema,
    output: ActivationSetSchema,
    plan: async (input, ctx) => {
      ctx.progress({ stage: "import", doneUnits: 0, unit: "rows" });
      // What the files are when the work begins is what they must be when it goes on.
      return [activationKey((await resolveImport(input, folder.activations)).source)];
    },
    run: async (key: string, ctx) => {
      const plan = await resolveImport(ctx.input, folder.activations);
      if (activationKey(plan.source) !== key) throw failedPrecondition("FILES_CHANGED", `the files at ${ctx.input.uri} are not what they were when ${ctx.name} began: start a new import`);
      await whileWriting([key], () => runStage<Imported>(new URL("../import/import-thread.ts", import.meta.url), plan, stageListener(ctx)));
      const stored = await new SetCatalogue(folder.activations).find(key);
      if (stored === undefined) throw internal("SET_GONE", `activationSets/${key} was deleted while it was imported`);
      return toJson(ActivationSetSchema, create(ActivationSetSchema, activationSetMessage(stored, folder.activations)));
    },
    reduce: async (_input, [result]) => await Promise.resolve(fromJson(ActivationSetSchema, result ?? {})),
  });
}

import type { SaeService } from "@mistral-sae/contracts/mistral_sae/sae/v1/sae";
import { type Handlers, invalidArgument, pageOf } from "@mistral-sae/rpc";
import { readableHook } from "../interventions/hooks.ts";
import { checkCreateSae, CREATE_SAE } from "../saes/create-sae.ts";
import { applyUpdate, modelOf } from "../saes/sae-registry.ts";
import { validateSae } from "../saes/validate-sae.ts";
import { readTokens } from "../wire/prompt.ts";
import { codecHandlers } from "./codec.ts";
import { featureHandlers } from "./features.ts";
import type { Parts } from "./parts.ts";

/** Every method of SaeService. */
export function saeHandlers(parts: Parts): Handlers<typeof SaeService> {
  const { models, saes, jobs } = parts;
  return {
    listSaes: async (request) => {
      const { rows, nextPageToken } = pageOf(saes.list(request.parent), request, ({ name }) => name, request.parent);
      return { saes: [...rows], nextPageToken };
    },
    getSae: async ({ name }) => ({ sae: saes.get(name) }),
    createSae: async (request) => {
      // A repeated call finds its operation even though the SAE is there by now.
      const known = request.requestId === "" ? undefined : saes.operationOf(`${request.parent}/saes/${request.saeId}`);
      if (known === undefined) checkCreateSae(request, parts);
      return { operation: jobs.start(CREATE_SAE, request, { requestId: request.requestId }) };
    },
    updateSae: async ({ sae, updateFields }) => {
      if (sae === undefined) throw invalidArgument("sae", "is not set");
      if (updateFields.length === 0) throw invalidArgument("update_fields", "is empty, wanted hook_name or hook_override_reason");
      if (updateFields.includes("hook_name")) readableHook("sae.hook_name", sae.hookName, models.use(modelOf(sae.name)).engine.info);
      return { sae: saes.change(sae.name, (before) => applyUpdate(before, sae, updateFields)) };
    },
    deleteSae: async ({ name, force }) => {
      await saes.delete(name, force);
      return {};
    },
    loadSae: async ({ name }, { signal }) => ({ sae: await saes.load(name, signal) }),
    unloadSae: async ({ name }) => ({ sae: await saes.unload(name) }),
    validateSae: async ({ name, sequences }, { signal }) => {
      const { model, sae } = saes.useWithModel("name", name);
      const leave = model.gate.enter();
      try {
        const probes = sequences.map((sequence, i) => {
          const { ids, isSpecial } = readTokens(`sequences[${i}]`, sequence, model.reader);
          return { tokens: ids, isSpecial };
        });
        const validation = await validateSae(model, sae.engineName, sae.hookName, probes.length === 0 ? undefined : probes, signal);
        saes.change(name, (entry) => ({ ...entry, validation, residNormMean: validation.residNormMean }));
        return { validation };
      } catch (error) {
        throw model.explain(error);
      } finally {
        leave();
      }
    },
    ...codecHandlers(parts),
    ...featureHandlers(parts),
  };
}

import { architectureFacts, type ArchitectureOption, optionsOf, resolveTrainerConfig } from "@mistral-sae/sae";
import { snake } from "./fields.ts";
import type { RunRow } from "./run-store.ts";
import { trainerOptions } from "./trainer-config.ts";

/** What an exported SAE says of itself in cfg.json, under SAELens' keys where it has them. */
export function metadataOf({ id, config, model }: Pick<RunRow, "id" | "config" | "model">): Record<string, unknown> {
  return {
    model_name: model.name.replace(/^models\//, ""),
    hook_name: config.hookName,
    ...(config.hookNameOut === "" ? {} : { hook_name_out: config.hookNameOut }),
    hook_head_index: null,
    context_size: config.contextSize,
    prepend_bos: model.bosTokenId !== undefined,
    exclude_special_tokens: true,
    dataset_path: config.corpus?.uri || config.activations,
    training_architecture: config.architecture,
    training_architecture_details: trainingDetails({ config, model }),
    training_run: id,
    model_digest: model.digest,
  };
}

/** The options of the kind of SAE, as the run was trained with them: what its weights alone do not tell. */
function trainingDetails({ config, model }: Pick<RunRow, "config" | "model">): Record<string, unknown> {
  const trainer = resolveTrainerConfig(trainerOptions(config, model));
  const names = (Object.keys(optionsOf) as ArchitectureOption[]).filter((name) => (optionsOf[name] as readonly string[]).includes(trainer.architecture));
  // A start of k that is k says nothing.
  const said = names.filter((name) => name !== "kStart" || trainer.kStart !== trainer.k);
  return {
    formulation: trainer.formulation,
    normalize_activations: trainer.normalizeActivations,
    ...(architectureFacts[trainer.architecture].sparsity === "penalised" ? { mse_scale: trainer.mseScale } : {}),
    ...Object.fromEntries(said.map((name) => [snake(name), trainer[name]])),
  };
}

import type { HarvestHook, HarvestPlan } from "../harvest/harvest-plan.ts";
import { harvestText } from "../jobs/harvest-stage.ts";
import type { DataFolder } from "../jobs/paths.ts";
import { storedDType } from "../runs/resolve-config.ts";
import type { RunRow } from "../runs/run-store.ts";
import { corpusSourceOf } from "../wire/corpus-source.ts";

/** What one pass of the model gives several runs. */
export interface SharedHarvest extends Pick<RunRow, "config" | "model" | "corpus"> {
  /** Every hook that some run reads. */
  readonly hooks: readonly HarvestHook[];
  /** Rows of the run that wants most. */
  readonly rowsWanted: number;
}

/** The passes that runs need together: one for each model, text and way of storing. */
export function sharedHarvests(runs: readonly RunRow[]): SharedHarvest[] {
  const groups = Map.groupBy(runs.filter(harvestsWhole), ({ model, config, corpus }) => JSON.stringify([model.digest, model.name, corpus, config.contextSize, config.activationDtype]));
  return [...groups.values()].flatMap((group) => {
    const [first] = group;
    if (first === undefined) return [];
    const hooks = new Map<string, HarvestHook>();
    for (const { model } of group) {
      for (const { hookName, width } of model.out === undefined ? [model] : [model, model.out]) hooks.set(hookName, { hookName, width });
    }
    const { config, model, corpus } = first;
    return [{ config, model, corpus, hooks: [...hooks.values()], rowsWanted: Math.max(...group.map((run) => Number(run.config.trainingTokens))) }];
  });
}

export function harvestPlan({ config, model, corpus, hooks, rowsWanted }: SharedHarvest, { activations }: Pick<DataFolder, "activations">, shardBytes: number): HarvestPlan {
  const text = harvestText(model, { corpus, contextSize: config.contextSize, dtype: storedDType(config) }, shardBytes);
  return { store: activations, text, hooks, corpus: corpusSourceOf(config.corpus), bosTokenId: model.bosTokenId, rowsWanted };
}

/** Whether all rows of the run are stored before it trains. Ready rows need no model, and a stream is harvested as it is read. */
function harvestsWhole({ config }: RunRow): boolean {
  return config.activations === "" && !config.streamActivations;
}

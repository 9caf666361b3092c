import { ShardSet, storedRows, type RowSource, type ShardSetPlace, type StreamFlow } from "@mistral-sae/activations";
import { activationSource, type HarvestHook, type HarvestPlan, type HarvestText } from "../harvest/harvest-plan.ts";
import { storedDType } from "../runs/resolve-config.ts";
import { totalSteps } from "../runs/run-message.ts";
import type { RunRow } from "../runs/run-store.ts";
import { corpusSourceOf } from "../wire/corpus-source.ts";
import { foldersOf, harvestText } from "./harvest-stage.ts";
import type { DataFolder } from "./paths.ts";

/** The rows that a run harvests and reads: of one hook, or of a transcoder's two. */
export class RunRows {
  readonly #run: RunRow;
  readonly #folder: DataFolder;
  readonly #text: HarvestText;

  constructor(run: RunRow, folder: DataFolder, shardBytes: number) {
    const { config, model, corpus } = run;
    this.#run = run;
    this.#folder = folder;
    this.#text = harvestText(model, { corpus, contextSize: config.contextSize, dtype: storedDType(config) }, shardBytes);
  }

  /** What is harvested before training. */
  plan(): HarvestPlan {
    const { config, model } = this.#run;
    const streamed = config.streamActivations;
    return {
      store: this.#folder.activations,
      text: this.#text,
      hooks: hooksOf(this.#run),
      corpus: corpusSourceOf(config.corpus),
      bosTokenId: model.bosTokenId,
      rowsWanted: streamed ? this.#totalRows : Number(config.trainingTokens),
      privateTo: config.activationDiskBytes > 0n ? this.#run.id : undefined,
    };
  }

  /** What is harvested while training reads it. */
  streamPlan(flow: StreamFlow): HarvestPlan {
    const { activationDiskBytes, bufferTokens } = this.#run.config;
    return { ...this.plan(), stream: { flow: flow.memory, diskBytes: Number(activationDiskBytes), bufferRows: Number(bufferTokens), totalRows: this.#totalRows } };
  }

  get sets(): readonly ShardSet[] {
    const plan = this.plan();
    const folders = foldersOf(plan);
    return plan.hooks.map((hook, at) => new ShardSet(plan.store, folders[at] ?? "", activationSource(plan.text, hook)));
  }

  /** The rows once all are stored. */
  async stored(): Promise<RowSource> {
    const { rowsWanted } = this.plan();
    return storedRows(...(await Promise.all(this.sets.map(async (set) => (await set.finished(rowsWanted)).map((shard) => set.rowFile(shard))))));
  }

  /** The rows as they come. */
  streamed(flow: StreamFlow): RowSource {
    const sets: ShardSetPlace[] = this.sets.map(({ address, folder, source }) => ({ address, folder, source }));
    return { kind: "streamed", sets, flow: flow.memory, inOrder: this.#run.config.activationDiskBytes > 0n, totalRows: this.#totalRows };
  }

  get #totalRows(): number {
    return totalSteps(this.#run) * this.#run.config.trainBatchSizeTokens;
  }
}

/** The hooks whose rows lie side by side: of the input, then of a transcoder's output. */
function hooksOf({ model }: RunRow): readonly HarvestHook[] {
  return [model, ...(model.out === undefined ? [] : [model.out])].map(({ hookName, width }) => ({ hookName, width }));
}

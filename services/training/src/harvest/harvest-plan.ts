import type { ActivationSource, ShardRecord, StoreAddress } from "@mistral-sae/activations";
import type { CorpusSource } from "@mistral-sae/corpus";
import type { StreamTask } from "./disk-budget.ts";

/** What to harvest. */
export interface HarvestPlan {
  readonly store: StoreAddress;
  /** What is the same for all hooks. */
  readonly text: HarvestText;
  /** At least one, each once. */
  readonly hooks: readonly HarvestHook[];
  readonly corpus: CorpusSource;
  readonly bosTokenId: number | undefined;
  /** Stop once there are this many rows of each hook; the corpus may end before. */
  readonly rowsWanted: number;
  /** The one run that reads and drops these shards; they are shared with all others without. */
  readonly privateTo?: string | undefined;
  /** Set when training reads the shards while they are harvested. */
  readonly stream?: StreamTask | undefined;
}

/** The rows that are harvested, whatever the hook. */
export type HarvestText = Omit<ActivationSource, "hookName" | "width">;

/** Where rows are read, and the values of one. */
export type HarvestHook = Pick<ActivationSource, "hookName" | "width">;

/** The shards of a hook that a run trains on: the shortest run of whole shards from the first with the rows wanted. */
export interface HarvestedHook extends HarvestHook {
  readonly shards: readonly ShardRecord[];
  readonly rows: number;
  /** Folder in the store. */
  readonly folder: string;
}

export interface Harvested {
  /** In the order of the plan. */
  readonly hooks: readonly HarvestedHook[];
  readonly heldBack: number;
  readonly emptyTexts: number;
}

/** What decides the rows of a hook. */
export function activationSource({ modelDigest, corpus, contextSize, dtype, shardTokens, documents }: HarvestText, { hookName, width }: HarvestHook): ActivationSource {
  return { modelDigest, hookName, corpus, contextSize, dtype, width, shardTokens, documents };
}

import { StreamFlow, type RowSource } from "@mistral-sae/activations";

/**
 * Tells a harvest with a disk budget which shards training has passed: those behind the older of the two
 * checkpoints that are kept, or, when the harvest cannot go on otherwise, behind the newer one. Should that one
 * then be damaged, the shards behind it are harvested again.
 */
export class ShardRetention {
  readonly #flow: StreamFlow;
  #newest: number;

  /** @param floor First shard that the run needs as it starts. */
  private constructor(flow: StreamFlow, floor: number) {
    this.#flow = flow;
    this.#newest = floor;
    flow.raiseFloor(floor);
  }

  /** @returns Undefined where shards are kept. */
  static of(rows: RowSource, floor: number): ShardRetention | undefined {
    if (rows.kind === "stored") return undefined;
    const flow = new StreamFlow(rows.flow);
    if (rows.inOrder) return new ShardRetention(flow, floor);
    flow.raiseFloor(0);
    return undefined;
  }

  /** Whether the harvest waits for a checkpoint from which less is needed. */
  async presses(floor: () => Promise<number>): Promise<boolean> {
    return this.#flow.waiting && (await floor()) > (this.#flow.floor ?? 0);
  }

  /** A checkpoint was written from which `floor` is the first shard needed. */
  saved(floor: number): void {
    this.#flow.raiseFloor(this.#newest);
    this.#newest = floor;
  }

  /** Lets go of what only the older checkpoint needs. */
  yieldToHarvest(): void {
    this.#flow.raiseFloor(this.#newest);
  }
}

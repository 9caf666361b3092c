import { join, resolve } from "node:path";
import type { StoreAddress } from "@mistral-sae/activations";

/** Where the service keeps what it makes. */
export class DataFolder {
  readonly #root: string;

  constructor(root: string) {
    this.#root = resolve(root);
  }

  get ledger(): string {
    return join(this.#root, "jobs.sqlite");
  }

  get catalogue(): string {
    return join(this.#root, "runs.sqlite");
  }

  /** Shards of all runs, one folder a source. */
  get activations(): StoreAddress {
    return { kind: "fs", root: join(this.#root, "activations") };
  }

  checkpoints(run: string): string {
    return join(this.#root, "runs", run, "checkpoints");
  }

  sae(run: string): string {
    return join(this.#root, "runs", run, "sae");
  }

  exportedSae(run: string, checkpoint: string): string {
    return join(this.#root, "runs", run, "exports", checkpoint);
  }
}

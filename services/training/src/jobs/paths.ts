import { join, resolve } from "node:path";
import type { StoreAddress } from "@mistral-sae/activations";

/** Where the service keeps what it makes. */
export class DataFolder {
  readonly #root: string;
  readonly #saes: string | undefined;

  /** @param saes Folder for finished SAEs, one folder a run; empty keeps each beside its run. */
  constructor(root: string, saes = "") {
    this.#root = resolve(root);
    this.#saes = saes === "" ? undefined : resolve(saes);
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
    return this.#saes === undefined ? join(this.#root, "runs", run, "sae") : join(this.#saes, run);
  }

  exportedSae(run: string, checkpoint: string): string {
    return join(this.#root, "runs", run, "exports", checkpoint);
  }
}

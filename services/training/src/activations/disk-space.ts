import { stat } from "node:fs/promises";
import { PLACE_BYTES } from "@mistral-sae/activations";
import { openCorpus } from "@mistral-sae/corpus";
import { RpcError, Code } from "@mistral-sae/rpc";
import { DTYPE_BYTES } from "@mistral-sae/tensor";
import type { HarvestPlan } from "../harvest/harvest-plan.ts";
import { foldersOf } from "../jobs/harvest-stage.ts";
import type { SetCatalogue, StoredSet } from "./set-catalogue.ts";

/** Bytes of text a token has at least, about; only texts of rare words have fewer. */
const BYTES_A_TOKEN = 3;
/** What compressed text files unfold to, about. */
const UNFOLDED = 5;
const COMPRESSED = /\.(zst|gz|parquet)$/i;

/**
 * Keeps all activation sets together within a number of bytes. Sets that no unfinished run reads make room for
 * those that are about to be written, the least recently used first.
 */
export class DiskSpace {
  readonly #catalogue: SetCatalogue;
  readonly #bytes: number;
  /** Tells which folders are read or written now: they stay. */
  readonly #inUse: () => (folder: string) => boolean;

  /** @param bytes 0 sets no limit. */
  constructor(catalogue: SetCatalogue, bytes: number, inUse: () => (folder: string) => boolean) {
    this.#catalogue = catalogue;
    this.#bytes = bytes;
    this.#inUse = inUse;
  }

  /** @throws RpcError RESOURCE_EXHAUSTED, before any work, when a harvest cannot fit even with every unused set gone. */
  async requireFit(plan: HarvestPlan, diskBytes: number): Promise<void> {
    await this.#clear(plan, diskBytes, false);
  }

  /** Deletes unused sets until a harvest fits, and notes that its sets are used now. @throws As {@link requireFit}. */
  async makeRoom(plan: HarvestPlan, diskBytes: number): Promise<void> {
    await this.#clear(plan, diskBytes, true);
    const stored = new Set((await this.#catalogue.list()).map(({ folder }) => folder));
    for (const folder of foldersOf(plan)) if (stored.has(folder)) await this.#catalogue.touch(folder);
  }

  async #clear(plan: HarvestPlan, diskBytes: number, remove: boolean): Promise<void> {
    if (this.#bytes === 0) return;
    const own = new Set(foldersOf(plan));
    const wanted = diskBytes > 0 ? diskBytes : await harvestBytes(plan);
    const sets = (await this.#catalogue.list()).filter(({ folder }) => !own.has(folder));
    let others = sets.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    const inUse = this.#inUse();
    const unused = sets.filter(({ folder }) => !inUse(folder)).sort((a, b) => a.usedMs - b.usedMs);
    const goes: StoredSet[] = [];
    for (const set of unused) {
      if (others + wanted <= this.#bytes) break;
      goes.push(set);
      others -= set.sizeBytes;
    }
    if (others + wanted > this.#bytes) throw exhausted(wanted, this.#bytes, others);
    if (remove) for (const { folder } of goes) await this.#catalogue.remove(folder);
  }
}

/** Bytes that a harvest stores, as far as can be told before the text is tokenised. */
async function harvestBytes({ corpus, hooks, rowsWanted, text: { dtype } }: HarvestPlan): Promise<number> {
  const { files } = await openCorpus(corpus);
  let text = 0;
  for (const file of files) text += (await stat(file)).size * (COMPRESSED.test(file) ? UNFOLDED : 1);
  const rows = Math.min(rowsWanted, Math.ceil(text / BYTES_A_TOKEN));
  return rows * hooks.reduce((sum, { width }) => sum + width * DTYPE_BYTES[dtype] + PLACE_BYTES, 0);
}

function exhausted(wanted: number, budget: number, others: number): RpcError {
  // Waiting does not help, so that the call is not one to repeat.
  return new RpcError(Code.ResourceExhausted, `activations of about ${wanted} bytes do not fit the service's ${budget} (MISTRAL_SAE_TRAINING_ACTIVATION_DISK_MIB) beside ${others} that unfinished runs read: give the run activation_disk_bytes, fewer training_tokens, or delete sets`, { reason: "ACTIVATION_DISK_FULL" });
}

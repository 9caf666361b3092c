import { openStore, PLACE_BYTES, ShardSet, type ActivationSource, type StoreAddress } from "@mistral-sae/activations";
import { DTYPE_BYTES } from "@mistral-sae/tensor";

/** A stored activation set. */
export interface StoredSet {
  /** Folder in the store, and last segment of its name. */
  readonly folder: string;
  readonly source: ActivationSource;
  readonly rows: number;
  readonly shards: number;
  readonly sizeBytes: number;
  /** When it was last written to or taken up by a run. */
  readonly usedMs: number;
}

const USED = "used";

export function setName(folder: string): string {
  return `activationSets/${folder}`;
}

/** The activation sets in a store. */
export class SetCatalogue {
  readonly address: StoreAddress;

  constructor(address: StoreAddress) {
    this.address = address;
  }

  /** All sets that say what they are of, by folder. */
  async list(): Promise<readonly StoredSet[]> {
    const folders = new Map<string, { bytes: number; usedMs: number; shards: number; rowBytes: number }>();
    for await (const { key, size, modified } of openStore(this.address).list()) {
      const [folder = "", file = ""] = key.split("/");
      const found = folders.get(folder) ?? { bytes: 0, usedMs: 0, shards: 0, rowBytes: 0 };
      folders.set(folder, found);
      found.bytes += size;
      found.usedMs = Math.max(found.usedMs, modified.getTime());
      if (!file.endsWith(".rows")) continue;
      found.shards += 1;
      found.rowBytes += size;
    }
    const sets: StoredSet[] = [];
    for (const [folder, { bytes, usedMs, shards, rowBytes }] of folders) {
      const set = await ShardSet.at(this.address, folder);
      if (set === undefined) continue;
      const { width, dtype } = set.source;
      sets.push({ folder, source: set.source, rows: Math.floor(rowBytes / (width * DTYPE_BYTES[dtype] + PLACE_BYTES)), shards, sizeBytes: bytes, usedMs });
    }
    return sets.sort((a, b) => (a.folder < b.folder ? -1 : 1));
  }

  async find(folder: string): Promise<StoredSet | undefined> {
    return (await this.list()).find((set) => set.folder === folder);
  }

  /** Notes that a run takes up a set. */
  async touch(folder: string): Promise<void> {
    await openStore(this.address).put(`${folder}/${USED}`, new Uint8Array(0));
  }

  async remove(folder: string): Promise<void> {
    await (await ShardSet.at(this.address, folder))?.remove();
  }
}

import { mkdir, readdir, readFile, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { atomicWriteFile } from "@mistral-sae/tensor";

/** A backup as its record tells it. */
export interface BackupRecord {
  readonly id: string;
  /** Where ClickHouse wrote its part: `File('…')`, `Disk('…', '…')`, `S3(…)`. */
  readonly target: string;
  /** The backup that this one only adds to; empty for a whole one. */
  readonly base: string;
  readonly createdMs: number;
  readonly sizeBytes: number;
}

/** Records of backups, each with its copy of the catalogue, in one folder: a backup without a record does not exist. */
export class BackupFiles {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** Where a backup's copy of the catalogue lies. */
  catalogueOf(id: string): string {
    return join(this.#folder, id, "catalogue.sqlite");
  }

  /** Makes a backup's folder, empty. */
  async begin(id: string): Promise<void> {
    await rm(join(this.#folder, id), { recursive: true, force: true });
    await mkdir(join(this.#folder, id), { recursive: true });
  }

  /** Makes a backup known; `sizeBytes` gets the catalogue's bytes added. */
  async commit(record: BackupRecord): Promise<BackupRecord> {
    const whole = { ...record, sizeBytes: record.sizeBytes + (await stat(this.catalogueOf(record.id))).size };
    await atomicWriteFile(this.#recordOf(record.id), `${JSON.stringify(whole, undefined, 2)}\n`);
    return whole;
  }

  async get(id: string): Promise<BackupRecord | undefined> {
    try {
      return JSON.parse(await readFile(this.#recordOf(id), "utf8")) as BackupRecord;
    } catch (error) {
      if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
      throw error;
    }
  }

  /** Newest first. */
  async list(): Promise<BackupRecord[]> {
    await mkdir(this.#folder, { recursive: true });
    const records = await Promise.all((await readdir(this.#folder)).map(async (id) => await this.get(id)));
    return records.filter((record) => record !== undefined).sort((a, b) => b.createdMs - a.createdMs || a.id.localeCompare(b.id));
  }

  /** Removes a backup, with what ClickHouse wrote where that is a folder of this machine; other targets are the operator's to clear. */
  async remove({ id, target }: BackupRecord): Promise<void> {
    // The record first: what is left of a backup that was cut off here is no backup.
    await rm(this.#recordOf(id), { force: true });
    const folder = /^File\('(.+)'\)$/.exec(target)?.[1];
    if (folder !== undefined) await rm(folder, { recursive: true, force: true });
    await rm(join(this.#folder, id), { recursive: true, force: true });
  }

  #recordOf(id: string): string {
    return join(this.#folder, id, "backup.json");
  }
}

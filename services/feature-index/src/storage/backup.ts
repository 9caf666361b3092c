import type { ClickHouse } from "@mistral-sae/clickhouse";
import { BackupSchema, CreateBackupRequestSchema } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/storage";
import { defineJob, type Job } from "@mistral-sae/jobs";
import { aborted, alreadyExists, failedPrecondition, parseName } from "@mistral-sae/rpc";
import type { Catalogue } from "../catalogue/catalogue.ts";
import { orUnavailable } from "../clickhouse-away.ts";
import { SHARD_DATABASE, TABLES_DATABASE } from "../store/tables.ts";
import { backupMessage } from "./backup-message.ts";
import type { BackupFiles, BackupRecord } from "./backup-files.ts";

export interface BackupParts {
  readonly clickhouse: ClickHouse;
  readonly catalogue: Catalogue;
  readonly files: BackupFiles;
  /** Where ClickHouse writes a backup, as SQL; undefined where nobody said. */
  readonly targetOf: (id: string) => string | undefined;
}

const ATTEMPTS = 5;

/**
 * The job behind CreateBackup: ClickHouse's BACKUP of all tables, and a copy of the catalogue that fits them. Indexes and corpora
 * may be built meanwhile; those that are not finished are failed ones where the backup is put back.
 */
export function backupJob({ clickhouse, catalogue, files, targetOf }: BackupParts): Job {
  return defineJob<typeof CreateBackupRequestSchema, typeof BackupSchema, Pick<BackupRecord, "id" | "target" | "base">, BackupRecord>({
    kind: "create-backup",
    input: CreateBackupRequestSchema,
    output: BackupSchema,
    plan: async ({ backupId, base }) => {
      requireOneServer(clickhouse);
      const target = requireTarget(targetOf, backupId);
      if ((await files.get(backupId)) !== undefined) throw alreadyExists(`backups/${backupId}`);
      if (base === "") return [{ id: backupId, target, base: "" }];
      const whole = await requireBackup(files, base);
      return [{ id: backupId, target, base: whole.target }];
    },
    run: ({ id, target, base }, { input, signal, attempt }) =>
      orUnavailable(async () => {
        const createdMs = Date.now();
        for (let again = 0; ; again++) {
          await files.begin(id);
          catalogue.copyTo(files.catalogueOf(id));
          const before = ownersOf(catalogue);
          // A target that an interrupted attempt wrote to is not written to again.
          const place = attempt === 1 && again === 0 ? target : target.replace(id, `${id}.${attempt}-${again}`);
          const settings = base === "" ? "" : ` SETTINGS base_backup = ${base}`;
          const [made] = await clickhouse.rows<{ id: string }>(`BACKUP DATABASE ${TABLES_DATABASE} TO ${place}${settings}`, {}, { signal });
          const { bytes } = await clickhouse.row<{ bytes: number }>("SELECT total_size AS bytes FROM system.backups WHERE id = {id:String}", { id: made?.id ?? "" });
          // Rows of what was deleted after the catalogue was copied may be missing from the tables.
          const left = ownersOf(catalogue);
          if ([...before].every((owner) => left.has(owner))) return await files.commit({ id, target: place, base: input.base, createdMs, sizeBytes: bytes });
          if (again === ATTEMPTS) throw aborted("DELETED_MEANWHILE", "corpora or indexes were deleted during each attempt; try again when nothing is being deleted");
        }
      }),
    reduce: async (_input, [record]) => {
      if (record === undefined) throw new Error("a backup came back without its record");
      return await Promise.resolve(backupMessage(record));
    },
  });
}

function ownersOf(catalogue: Catalogue): Set<string> {
  return new Set([...catalogue.corpora().map(({ corpusId }) => `corpus ${corpusId}`), ...catalogue.indexes().map(({ indexId }) => `index ${indexId}`)]);
}

function requireTarget(targetOf: BackupParts["targetOf"], id: string): string {
  const target = targetOf(id);
  if (target !== undefined) return target;
  throw failedPrecondition("BACKUP_TARGET_MISSING", "this ClickHouse server was not started here: say where it writes backups in MISTRAL_SAE_FEATURE_INDEX_BACKUP_TARGET, such as Disk('backups', '{id}')");
}

/** @throws RpcError FAILED_PRECONDITION BACKUP_ON_CLUSTER. */
export function requireOneServer({ cluster }: ClickHouse): void {
  if (cluster === undefined) return;
  throw failedPrecondition("BACKUP_ON_CLUSTER", `backups of the cluster ${cluster} are not made or put back here: use its servers' own BACKUP DATABASE ${SHARD_DATABASE} ON CLUSTER '${cluster}' TO …, and keep a copy of catalogue.sqlite from the same moment`);
}

/** The record of a backup by its name. @throws RpcError INVALID_ARGUMENT, FAILED_PRECONDITION BACKUP_MISSING. */
export async function requireBackup(files: BackupFiles, name: string): Promise<BackupRecord> {
  const record = await files.get(parseName("backups/{backup}", name, "name").backup);
  if (record === undefined) throw failedPrecondition("BACKUP_MISSING", `${name} does not exist; ListBackups tells those that do`, { backup: name });
  return record;
}

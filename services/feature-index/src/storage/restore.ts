import type { ClickHouse } from "@mistral-sae/clickhouse";
import { BackupSchema, RestoreBackupRequestSchema } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/storage";
import { defineJob, type Job, once } from "@mistral-sae/jobs";
import { orUnavailable } from "../clickhouse-away.ts";
import { TABLES_DATABASE } from "../store/tables.ts";
import { backupMessage } from "./backup-message.ts";
import { type BackupParts, requireBackup, requireOneServer } from "./backup.ts";

export interface RestoreParts extends Pick<BackupParts, "clickhouse" | "catalogue" | "files"> {
  /** Brings tables of an older version up to this one, and the views. @throws when they are of a newer one. */
  readonly migrate: () => Promise<void>;
}

const INCOMING = `${TABLES_DATABASE}_incoming`;
const OUTGOING = `${TABLES_DATABASE}_outgoing`;

/**
 * The job behind RestoreBackup: the backup's tables are read beside those in use, then take their place, and the catalogue becomes
 * the backup's. Each step is noted, so that an interrupted one goes on where it stopped.
 */
export function restoreJob({ clickhouse, catalogue, files, migrate }: RestoreParts): Job {
  return defineJob<typeof RestoreBackupRequestSchema, typeof BackupSchema, { readonly name: string }, null>({
    kind: "restore-backup",
    input: RestoreBackupRequestSchema,
    output: BackupSchema,
    plan: async ({ name }) => {
      requireOneServer(clickhouse);
      await requireBackup(files, name);
      return [{ name }];
    },
    run: ({ name }, { state, signal }) =>
      orUnavailable(async () => {
        const record = await requireBackup(files, name);
        await once({ state }, "read", async () => {
          await clickhouse.command(`DROP DATABASE IF EXISTS ${INCOMING} SYNC`);
          await clickhouse.rows(`RESTORE DATABASE ${TABLES_DATABASE} AS ${INCOMING} FROM ${record.target}`, {}, { signal });
        });
        signal.throwIfAborted();
        await once({ state }, "swapped", async () => await swap(clickhouse));
        await once({ state }, "catalogue", async () => await Promise.resolve(catalogue.replaceFrom(files.catalogueOf(record.id))));
        await migrate();
        await clickhouse.command(`DROP DATABASE IF EXISTS ${OUTGOING} SYNC`);
        return null;
      }),
    reduce: async ({ name }) => backupMessage(await requireBackup(files, name)),
  });
}

/** Puts the tables that were read in the place of those in use; what an interrupted call did is not done again. */
async function swap(clickhouse: ClickHouse): Promise<void> {
  const databases = new Set((await clickhouse.rows<{ name: string }>("SELECT name FROM system.databases")).map(({ name }) => name));
  if (!databases.has(INCOMING)) return;
  if (databases.has(TABLES_DATABASE)) {
    await clickhouse.command(`DROP DATABASE IF EXISTS ${OUTGOING} SYNC`);
    await clickhouse.command(`RENAME DATABASE ${TABLES_DATABASE} TO ${OUTGOING}`);
  }
  await clickhouse.command(`RENAME DATABASE ${INCOMING} TO ${TABLES_DATABASE}`);
}

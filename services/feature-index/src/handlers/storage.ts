import { create } from "@bufbuild/protobuf";
import type { FeatureIndexService } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import { CompactStorageRequestSchema, CreateBackupRequestSchema, RestoreBackupRequestSchema } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/storage";
import { OperationState } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";
import { alreadyExists, failedPrecondition, type Handlers, notFound, pageOf, parseName, requireId } from "@mistral-sae/rpc";
import type { Parts } from "../parts.ts";
import { backupMessage } from "../storage/backup-message.ts";
import { requireBackup, requireOneServer } from "../storage/backup.ts";
import { readUsage } from "../storage/usage.ts";
import { stored, T } from "../store/tables.ts";
import { EMBED_KIND } from "../vectors/embed-job.ts";
import { deleteIndex, requireIdle } from "./delete-index.ts";

type Names = "deleteSaeData" | "getStorage" | "compactStorage" | "createBackup" | "listBackups" | "restoreBackup" | "deleteBackup";

export function storageHandlers(parts: Parts): Pick<Handlers<typeof FeatureIndexService>, Names> {
  const { catalogue, clickhouse, engine, meaning, storage, backups } = parts;
  return {
    deleteSaeData: async ({ sae }) => {
      parseName("models/{model}/saes/{sae}", sae, "sae");
      const records = catalogue.saes().filter(({ name }) => name === sae);
      if (records.length === 0) throw notFound(sae, "was never indexed or explained");
      const own = catalogue.indexes().filter((index) => index.sae.name === sae);
      for (const index of own) requireIdle(parts, index);
      for (const index of own) await deleteIndex(parts, index);
      await meaning.removeSaes(records);
      await clickhouse.command(`DELETE FROM ${stored(clickhouse, T.explanations)} WHERE sae_id IN {saes:Array(UInt32)}`, { saes: records.map(({ saeId }) => saeId) });
      return { indexes: own.map(({ id }) => `indexes/${id}`) };
    },
    getStorage: async () => await readUsage(storage),
    compactStorage: async ({ requestId }) => await Promise.resolve({ operation: engine.start("compact-storage", create(CompactStorageRequestSchema), { requestId }) }),
    createBackup: async ({ backupId, base, requestId }) => {
      requireOneServer(clickhouse);
      const id = backupId === "" ? newBackupId() : requireId("backup_id", backupId);
      if (base !== "") await requireBackup(backups, base);
      const input = create(CreateBackupRequestSchema, { backupId: id, base });
      if (requestId === "" && (await backups.get(id)) !== undefined) throw alreadyExists(`backups/${id}`);
      return { operation: engine.start("create-backup", input, { requestId }) };
    },
    listBackups: async (request) => {
      const page = pageOf(await backups.list(), request, ({ id }) => id);
      return { backups: page.rows.map(backupMessage), nextPageToken: page.nextPageToken };
    },
    restoreBackup: async ({ name, replace, requestId }) => {
      requireOneServer(clickhouse);
      await requireBackup(backups, name);
      const there = catalogue.corpora().length + catalogue.indexes().length;
      if (there > 0 && !replace) throw failedPrecondition("INDEX_NOT_EMPTY", `${there} corpora and indexes are there and would be lost; set replace, or restore into an empty feature index`);
      // Vectors are computed anew from what is put back.
      const busy = engine.list({ states: [OperationState.QUEUED, OperationState.RUNNING] }).operations.find(({ kind }) => kind !== EMBED_KIND);
      if (busy !== undefined) throw failedPrecondition("INDEX_BUSY", `${busy.name} is under way; cancel it or wait for it first`, { operation: busy.name });
      return { operation: engine.start("restore-backup", create(RestoreBackupRequestSchema, { name, replace }), { requestId }) };
    },
    deleteBackup: async ({ name }) => {
      const record = await requireBackup(backups, name);
      const later = (await backups.list()).find(({ base }) => base === name);
      if (later !== undefined) throw failedPrecondition("BACKUP_IN_USE", `backups/${later.id} only adds to ${name}; delete that first`, { backup: `backups/${later.id}` });
      await backups.remove(record);
      return {};
    },
  };
}

/** b-20261123-184314: the time in UTC. */
function newBackupId(): string {
  return `b-${new Date().toISOString().slice(0, 19).replaceAll(/[-:]/g, "").replace("T", "-")}`;
}

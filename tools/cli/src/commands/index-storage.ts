import { BackupSchema, GetStorageResponseSchema, type Backup, type GetStorageResponse } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/storage";
import { timestampDate } from "@bufbuild/protobuf/wkt";
import type { Command } from "commander";
import { connect } from "../clients.ts";
import { group, run } from "../command.ts";
import { responseOf, waitFor } from "../operations.ts";
import { formatBytes, formatCount, formatFields, messageJson } from "../output.ts";
import { allPages, resolveSae, resourceName } from "../resources.ts";

/** `index storage | compact | rm-sae | backup …`. */
export function registerStorageVerbs(index: Command): void {
  index
    .command("storage")
    .description("Tell the bytes of every table, corpus and index.")
    .action(
      run(async ({ output, signal, address }) => {
        const storage = await connect(address).featureIndex.getStorage({}, { signal });
        output.message(GetStorageResponseSchema, storage, () => describeStorage(storage));
      }),
    );
  index
    .command("compact")
    .description("Merge tables, and drop rows of corpora and indexes that are gone.")
    .action(
      run(async (context) => {
        const clients = connect(context.address);
        const { operation } = await clients.featureIndex.compactStorage({}, { signal: context.signal });
        const left = responseOf(await waitFor(clients, operation, "compact", context), GetStorageResponseSchema);
        context.output.message(GetStorageResponseSchema, left, () => describeStorage(left));
      }),
    );
  index
    .command("rm-sae")
    .description("Delete everything that is known of an SAE: its indexes and its explanations.")
    .argument("<sae>", "models/{model}/saes/{sae} or its id")
    .action(
      run(async ({ output, signal, address }, given: string) => {
        const clients = connect(address);
        const sae = given.startsWith("models/") ? given : await resolveSae(clients, given, signal);
        const { indexes } = await clients.featureIndex.deleteSaeData({ sae }, { signal });
        output.result({ sae, indexes }, () => `${sae}: ${indexes.length === 0 ? "no index" : indexes.join(", ")} and its explanations are deleted`);
      }),
    );
  registerBackupVerbs(index);
}

function registerBackupVerbs(index: Command): void {
  const backup = group(index, "backup", "Backups of the whole index, by ClickHouse's own means.");
  backup
    .command("create")
    .description("Write a backup of all tables and the catalogue.")
    .argument("[id]", "id to give it; made from the time otherwise")
    .option("--base <backup>", "write only what is new since this one")
    .action(
      run(async (context, backupId: string | undefined, { base }: { readonly base?: string }) => {
        const clients = connect(context.address);
        const request = { backupId: backupId ?? "", base: base === undefined ? "" : resourceName("backups", base) };
        const { operation } = await clients.featureIndex.createBackup(request, { signal: context.signal });
        const made = responseOf(await waitFor(clients, operation, "backup", context), BackupSchema);
        context.output.message(BackupSchema, made, () => describeBackup(made));
      }),
    );
  backup
    .command("ls")
    .description("List backups, newest first.")
    .action(
      run(async ({ output, signal, address }) => {
        const clients = connect(address);
        const backups = await allPages(async (pageToken) => {
          const page = await clients.featureIndex.listBackups({ pageSize: 1000, pageToken }, { signal });
          return { rows: page.backups, nextPageToken: page.nextPageToken };
        });
        output.table(
          backups,
          [
            { header: "name", cell: ({ name }) => name },
            { header: "made", cell: timeOf },
            { header: "size", cell: ({ sizeBytes }) => formatBytes(sizeBytes) },
            { header: "base", cell: ({ base }) => base },
          ],
          (row) => messageJson(BackupSchema, row),
          "no backup; make one with `mistral-sae index backup create`",
        );
      }),
    );
  backup
    .command("restore")
    .description("Put tables and catalogue back as a backup has them.")
    .argument("<backup>", "backups/{backup} or its id")
    .option("--replace", "replace the corpora and indexes that are there now")
    .action(
      run(async (context, given: string, { replace = false }: { readonly replace?: boolean }) => {
        const clients = connect(context.address);
        const { operation } = await clients.featureIndex.restoreBackup({ name: resourceName("backups", given), replace }, { signal: context.signal });
        const restored = responseOf(await waitFor(clients, operation, "restore", context), BackupSchema);
        context.output.message(BackupSchema, restored, () => `${restored.name} is restored`);
      }),
    );
  backup
    .command("rm")
    .description("Delete a backup.")
    .argument("<backup>", "backups/{backup} or its id")
    .action(
      run(async ({ output, signal, address }, given: string) => {
        const name = resourceName("backups", given);
        await connect(address).featureIndex.deleteBackup({ name }, { signal });
        output.result({ name }, () => `${name} is deleted`);
      }),
    );
}

function timeOf({ createTime }: Backup): string {
  return createTime === undefined ? "" : timestampDate(createTime).toISOString().slice(0, 19).replace("T", " ");
}

function describeBackup(backup: Backup): string {
  return formatFields([
    ["backup", backup.name],
    ["written to", backup.uri],
    ["size", formatBytes(backup.sizeBytes)],
    ...(backup.base === "" ? [] : [["adds to", backup.base] as const]),
  ]);
}

function describeStorage({ tables, owners, sizeBytes, budgetBytes, freeBytes }: GetStorageResponse): string {
  return formatFields([
    ...tables.map(({ table, sizeBytes: bytes, nRows, nParts }) => [table, `${formatBytes(bytes)}, ${formatCount(nRows)} rows in ${formatCount(nParts)} parts`] as const),
    ...owners.map(({ name, sizeBytes: bytes }) => [name, formatBytes(bytes)] as const),
    ["all", `${formatBytes(sizeBytes)}${budgetBytes === 0n ? "" : ` of ${formatBytes(budgetBytes)}`}, ${formatBytes(freeBytes)} free on the disk`],
  ]);
}

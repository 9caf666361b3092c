import type { MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { BackupSchema } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/storage";
import type { BackupRecord } from "./backup-files.ts";

export function backupMessage({ id, target, base, createdMs, sizeBytes }: BackupRecord): MessageInitShape<typeof BackupSchema> {
  return { name: `backups/${id}`, uri: target, base, createTime: timestampFromMs(createdMs), sizeBytes: BigInt(sizeBytes) };
}

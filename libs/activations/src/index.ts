export { batchDefaults, BatchStream, type BatchOptions } from "./batch-stream.ts";
export { importRows } from "./import-rows.ts";
export { Random } from "./random.ts";
export { openStore, rowBytes, type RowFile, type StoreAddress } from "./row-file.ts";
export { RowOrder, type OrderPlan, type RowCursor } from "./row-order.ts";
export { activationKey, ShardSet, type ActivationSource, type RowPlaces, type SetEnd, type ShardRecord } from "./shard-set.ts";
export { packError, unpackError, type PackedError } from "./thread-error.ts";

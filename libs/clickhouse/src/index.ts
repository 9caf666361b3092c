export { type ClickHouseOptions, ClickHouse, type InsertCall, type SqlCall, type SqlParams } from "./client/clickhouse.ts";
export { openClickHouse, type ServerOptions } from "./server/open-server.ts";
export { refuseUnsafeSql } from "./client/restricted-sql.ts";
export { SqlError, type SqlFailure } from "./client/sql-error.ts";
export { migrate, type MigrateOptions } from "./migrations/migrate.ts";
export { splitStatements } from "./migrations/split-statements.ts";
export {
  arrayColumn,
  constantColumn,
  encodeNativeBlock,
  fixedColumn,
  type FixedTypes,
  joinParts,
  type NativeColumn,
  nullableColumn,
  stringArrayColumn,
  stringColumn,
} from "./native/native-block.ts";
export { type ClickHouseServer, type EmbeddedServerOptions, startEmbeddedServer } from "./server/embedded-server.ts";
export { type Engine, findEngine } from "./server/engine.ts";
export { DataFolderInUse } from "./server/leftover.ts";
export { type AnalystLimits, analystDefaults, backupsFolder, type Login } from "./server/server-files.ts";

export { type ClickHouseOptions, ClickHouse, type InsertCall, type SqlCall, type SqlParams } from "./client/clickhouse.ts";
export { onCluster, urlInCluster } from "./cluster/cluster.ts";
export type { ShardLayout } from "./cluster/cluster-statements.ts";
export { openClickHouse, type ServerOptions } from "./server/open-server.ts";
export { restrictedSql, restrictedSqlLimits } from "./client/restricted-sql.ts";
export { type SqlToken, sqlTokens } from "./client/sql-tokens.ts";
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

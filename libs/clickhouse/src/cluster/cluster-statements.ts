/** Where rows lie in a cluster. */
export interface ShardLayout {
  /** Database of the tables that hold rows, on each server; the names that are read and written stand for all of them. */
  readonly database: string;
  /** By table: the expression of its columns whose remainder by the number of shards is the shard of a row. */
  readonly keys: Readonly<Record<string, string>>;
}

/** A cluster as statements are made for it. */
export interface ClusterLayout extends ShardLayout {
  readonly cluster: string;
  readonly nShards: number;
  /** Database of the names that are read and written. */
  readonly names: string;
}

const TABLE = /^(?:\s|--[^\n]*\n)*(CREATE TABLE IF NOT EXISTS|ALTER TABLE|DROP TABLE IF EXISTS)\s+([\w.{}]+)\.(\w+)/;

/** What a statement of a migration does to a table: `CREATE TABLE IF NOT EXISTS {{tables}}.name …`; undefined for another. */
export function tableOf(statement: string): { readonly verb: string; readonly database: string; readonly table: string } | undefined {
  const [, verb, database, table] = TABLE.exec(statement) ?? [];
  return verb === undefined || database === undefined || table === undefined ? undefined : { verb, database, table };
}

/**
 * A statement that makes, changes or drops `{{tables}}.name`, as a cluster takes it: first the tables of the shards, replicated, then
 * the name over all of them. `substitute` puts in the variables, with the given database for `{{tables}}`.
 */
export function clusterStatements(statement: string, layout: ClusterLayout, substitute: (statement: string, tables: string) => string): readonly string[] {
  const found = tableOf(statement);
  if (found === undefined || found.database !== "{{tables}}") return [substitute(statement, layout.names)];
  const { verb, table } = found;
  const stored = withReplicaPath(substitute(statement, layout.database), layout, table);
  if (verb === "DROP TABLE IF EXISTS") return [substitute(statement, layout.names), stored];
  return [stored, distributed(layout, table)];
}

/** The name of a table over all shards. What was there is replaced: it holds no rows. */
function distributed({ cluster, database, names, keys, nShards }: ClusterLayout, table: string): string {
  const key = keys[table];
  if (key === undefined) throw new Error(`table ${table} has no sharding key, wanted one of its columns or an expression of them`);
  return `CREATE OR REPLACE TABLE ${names}.${table} ON CLUSTER '${cluster}' AS ${database}.${table} ENGINE = Distributed('${cluster}', '${database}', '${table}', ${key}) COMMENT '${distributedComment(nShards)}'`;
}

/** The comment of a name over all shards: rows do not move when shards are added, so that their number is settled once. */
export function distributedComment(nShards: number): string {
  return `over ${nShards} shards`;
}

/** A replicated engine gets the path by which replicas of one shard find each other; the servers' own macros tell shard and replica. */
function withReplicaPath(statement: string, { database }: ClusterLayout, table: string): string {
  return statement.replace(/ENGINE\s*=\s*Replicated(\w*MergeTree)(?:\(([^)]*)\))?/, (_, engine: string, args: string | undefined) => {
    const path = `'/clickhouse/tables/{shard}/${database}/${table}', '{replica}'`;
    return `ENGINE = Replicated${engine}(${args === undefined || args.trim() === "" ? path : `${path}, ${args}`})`;
  });
}

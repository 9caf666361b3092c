import type { ClickHouse } from "../client/clickhouse.ts";
import type { ClusterLayout, ShardLayout } from "../cluster/cluster-statements.ts";
import { onCluster } from "../cluster/cluster.ts";
import { ExpectedSchema } from "./expected-schema.ts";
import { type PlannedMigration, planStatements } from "./plan-statements.ts";
import { type Migration, readMigrations } from "./read-migrations.ts";
import { readTables, verifySchema } from "./verify-schema.ts";

/** How migrations are applied. */
export interface MigrateOptions {
  /** Folder of the files NNNN_name.sql. */
  readonly folder: string;
  /** Database of the tables, `{{tables}}`, and of the record of what was applied; made when missing. */
  readonly database: string;
  /** More databases that are made when missing. */
  readonly databases?: readonly string[];
  /** Values of other `{{name}}` in the files. */
  readonly variables?: Readonly<Record<string, string>>;
  /** Where rows lie when the server is one of a cluster. */
  readonly shards?: ShardLayout;
}

interface Applied {
  readonly version: number;
  readonly name: string;
  readonly sha256: string;
}

/**
 * Brings the schema up to the files: applies what is missing in the order of the numbers, then verifies that the tables that stand
 * are those that the files make. Statements must bear being run again (IF NOT EXISTS, OR REPLACE): a file that was cut off halfway is
 * applied again from its start, two programs may apply it at once, and a server that joined a cluster gets all of them.
 * Throws an error when an applied file has changed since, is gone, or a number is used twice, and one that names table and column
 * when somebody altered or dropped one by hand. Returns the names applied.
 */
export async function migrate(clickhouse: ClickHouse, options: MigrateOptions): Promise<string[]> {
  const { database, variables = {}, databases = [] } = options;
  const migrations = await readMigrations(options.folder);
  const layout = clickhouse.cluster === undefined ? undefined : await layoutOf(clickhouse, clickhouse.cluster, options);
  const plan = planStatements(migrations, database, variables, layout);
  const expected = new ExpectedSchema();
  for (const { migration, statements } of plan) for (const statement of statements) expected.add(migration.name, statement);
  const seen = [...new Set([...expected.tables.keys(), ...expected.views.keys()].map((name) => name.split(".")[0] as string))];
  const bare = layout === undefined || (await someServerIsBare(clickhouse, layout.cluster, seen));
  const record = `${database}.schema_migrations`;
  if (bare) {
    for (const name of [database, ...(layout === undefined ? [] : [layout.database]), ...databases]) await clickhouse.command(`CREATE DATABASE IF NOT EXISTS ${name}${onCluster(layout?.cluster)}`);
    await clickhouse.command(recordTable(record, layout));
  }
  const applied = await clickhouse.rows<Applied>(`SELECT version, name, sha256 FROM ${record} FINAL ORDER BY version`);
  for (const done of applied) verifyFile(done, migrations);
  const missing = plan.filter(({ migration }) => !applied.some((done) => done.version === migration.version));
  // A server that joined has none of the tables; the others keep theirs.
  for (const planned of layout !== undefined && bare ? plan : missing) {
    await apply(clickhouse, planned);
    if (!missing.includes(planned)) continue;
    const { version, name, sha256 } = planned.migration;
    await clickhouse.command(`INSERT INTO ${record} (version, name, sha256) SELECT {version:UInt32}, {name:String}, {sha256:String}`, { version, name, sha256 });
  }
  verifySchema(expected, await readTables(clickhouse, seen), layout?.nShards);
  return missing.map(({ migration }) => migration.name);
}

async function layoutOf(clickhouse: ClickHouse, cluster: string, { database, shards }: MigrateOptions): Promise<ClusterLayout> {
  if (shards === undefined) throw new Error(`migrations for the cluster ${cluster} want a layout of its shards`);
  const rows = await clickhouse.rows<{ name: string; nShards: number }>("SELECT cluster AS name, uniqExact(shard_num) AS nShards FROM system.clusters GROUP BY name ORDER BY name");
  const found = rows.find(({ name }) => name === cluster);
  if (found === undefined) throw new Error(`the ClickHouse server knows no cluster ${cluster}, wanted one of ${rows.map(({ name }) => name).join(", ") || "none"}: see remote_servers of its configuration`);
  return { ...shards, cluster, nShards: found.nShards, names: database };
}

/** Whether some server that answers has none of these databases' tables. */
async function someServerIsBare(clickhouse: ClickHouse, cluster: string, databases: readonly string[]): Promise<boolean> {
  const { bare } = await clickhouse.row<{ bare: number }>(
    `SELECT countIf(n = 0) AS bare FROM (SELECT _shard_num AS server, countIf(database IN {databases:Array(String)}) AS n FROM clusterAllReplicas('${cluster}', system.tables) GROUP BY server)`,
    { databases },
    { settings: { skip_unavailable_shards: 1 } },
  );
  return bare > 0;
}

/** Every server of a cluster has the whole record. */
function recordTable(record: string, layout: ClusterLayout | undefined): string {
  const engine = layout === undefined ? "ReplacingMergeTree" : `ReplicatedReplacingMergeTree('/clickhouse/tables/${record.replace(".", "/")}', '{shard}-{replica}')`;
  return `CREATE TABLE IF NOT EXISTS ${record}${onCluster(layout?.cluster)} (version UInt32, name String, sha256 String, applied_at DateTime DEFAULT now()) ENGINE = ${engine} ORDER BY version`;
}

async function apply(clickhouse: ClickHouse, { migration, statements }: PlannedMigration): Promise<void> {
  for (const statement of statements) {
    try {
      await clickhouse.command(statement);
    } catch (error) {
      const said = error instanceof Error ? error.message : String(error);
      throw new Error(`migration ${migration.name} failed: ${said}\n${statement}`, { cause: error });
    }
  }
}

function verifyFile(applied: Applied, migrations: readonly Migration[]): void {
  const file = migrations.find(({ version }) => version === applied.version);
  if (file === undefined) {
    throw new Error(`the database has migration ${applied.name}, which this program does not know: it was made by a newer version`);
  }
  if (file.sha256 !== applied.sha256) {
    throw new Error(`migration ${file.name} was changed after it was applied: got sha256 ${file.sha256}, wanted ${applied.sha256}; add a new file instead`);
  }
}

import type { ClickHouse } from "../client/clickhouse.ts";
import { distributedComment } from "../cluster/cluster-statements.ts";
import type { ExpectedSchema, ExpectedTable } from "./expected-schema.ts";
import { canonical } from "./schema-text.ts";

/** A table or view that stands on a server. */
export interface StandingTable {
  /** Number of the server in the cluster; 0 without one. */
  readonly server: number;
  readonly host: string;
  /** `database.name`. */
  readonly name: string;
  readonly engine: string;
  readonly sortingKey: string;
  readonly partitionKey: string;
  readonly comment: string;
  /** Names and types in their order. */
  readonly columns: readonly (readonly [string, string])[];
}

/** Tables and views of these databases, on every server that answers. */
export async function readTables(clickhouse: ClickHouse, databases: readonly string[]): Promise<StandingTable[]> {
  const cluster = clickhouse.cluster;
  const of = (table: string) => (cluster === undefined ? `system.${table}` : `clusterAllReplicas('${cluster}', system.${table})`);
  const server = cluster === undefined ? "toUInt32(0)" : "_shard_num";
  const settings = cluster === undefined ? {} : { skip_unavailable_shards: 1 as const };
  const reading = clickhouse.rows<Omit<StandingTable, "columns">>(
    `SELECT ${server} AS server, hostName() AS host, concat(t.database, '.', t.name) AS name, engine, sorting_key AS sortingKey, partition_key AS partitionKey, comment
     FROM ${of("tables")} AS t WHERE t.database IN {databases:Array(String)} ORDER BY server, name`,
    { databases },
    { settings },
  );
  const readingColumns = clickhouse.rows<{ server: number; name: string; columns: [string, string][] }>(
    `SELECT ${server} AS server, concat(c.database, '.', c.table) AS name, arrayMap(x -> [x.2, x.3], arraySort(groupArray((c.position, c.name, c.type)))) AS columns
     FROM ${of("columns")} AS c WHERE c.database IN {databases:Array(String)} GROUP BY server, c.database, c.table`,
    { databases },
    { settings },
  );
  const [tables, columns] = await Promise.all([reading, readingColumns]);
  const byTable = new Map(columns.map((row) => [`${row.server} ${row.name}`, row.columns]));
  return tables.map((table) => ({ ...table, columns: byTable.get(`${table.server} ${table.name}`) ?? [] }));
}

/** Throws an error that names what differs from what the migrations made: a table, a column, a key, a view. */
export function verifySchema(expected: ExpectedSchema, standing: readonly StandingTable[], nShards: number | undefined): void {
  for (const [server, tables] of Map.groupBy(standing, (table) => table.server)) {
    const where = server === 0 ? "" : ` on server ${server} (${tables[0]?.host})`;
    const byName = new Map(tables.map((table) => [table.name, table]));
    for (const [name, table] of expected.tables) verifyTable(name, table, byName.get(name), where, nShards);
    for (const [name, migration] of expected.views) if (!byName.has(name)) throw changed(`view ${name}${where} is not there, which ${migration} made`);
  }
}

function verifyTable(name: string, expected: ExpectedTable, standing: StandingTable | undefined, where: string, nShards: number | undefined): void {
  if (standing === undefined) throw changed(`table ${name}${where} is not there, which ${expected.migration} made`);
  for (const [column, { type, migration }] of expected.columns) {
    const got = standing.columns.find(([other]) => other === column)?.[1];
    if (got === undefined) throw changed(`table ${name}${where} has no column ${column}, which ${migration} made`);
    if (canonical(got) !== type) throw changed(`column ${column} of table ${name}${where}: got type ${got}, wanted ${type} as in ${migration}`);
  }
  const more = standing.columns.find(([column]) => !expected.columns.has(column));
  if (more !== undefined) throw changed(`table ${name}${where} has a column ${more[0]}, which no migration made`);
  if (expected.engine === "Distributed") {
    if (nShards !== undefined && standing.comment !== distributedComment(nShards)) {
      throw new Error(`table ${name}${where} was filled ${standing.comment}, and the cluster has ${nShards} shards now: rows would be looked for where they are not. Put back the former number, or index anew in a cluster without these tables`);
    }
    return;
  }
  const engine = standing.engine.replace(/^Replicated/, "");
  if (engine !== expected.engine) throw changed(`table ${name}${where}: got engine ${standing.engine}, wanted ${expected.engine} as in ${expected.migration}`);
  for (const [what, got, wanted] of [["sorting key", standing.sortingKey, expected.sortingKey], ["partition key", standing.partitionKey, expected.partitionKey]] as const) {
    if (wanted !== undefined && canonical(got) !== wanted) throw changed(`table ${name}${where}: got ${what} ${got}, wanted ${wanted} as in ${expected.migration}`);
  }
}

function changed(what: string): Error {
  return new Error(`the database is not as the migrations left it: ${what}; put it back, or restore a backup`);
}

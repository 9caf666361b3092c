import type { ClickHouseSettings } from "@clickhouse/client";

/**
 * Settings under which names that stand for tables of many shards behave as one table does: an insert is acknowledged when every
 * shard has its rows, what a subquery gives is sent to the shards, and reads find what was written before, because both take the
 * first replica that is there.
 */
export const CLUSTER_SETTINGS: ClickHouseSettings = {
  distributed_foreground_insert: 1,
  distributed_product_mode: "global",
  // Rows lie where the sharding key says, which the migrations see to.
  optimize_skip_unused_shards: 1,
  parallel_distributed_insert_select: "0",
  prefer_localhost_replica: 0,
  load_balancing: "in_order",
  // What is dropped or changed is so on every replica before the next statement.
  alter_sync: "2",
};

const NAME = /^[A-Za-z_][\w.-]*$/;
const PARAMETER = "cluster";

/** The URL of a server as one of a cluster: every connection that is made from it knows. @throws Error for what is no cluster's name. */
export function urlInCluster(url: string, cluster: string): string {
  if (!NAME.test(cluster)) throw new Error(`got the cluster name ${JSON.stringify(cluster)}, wanted letters, digits, "_", "-" and ".", as in remote_servers of the server's configuration`);
  const whole = new URL(url);
  whole.searchParams.set(PARAMETER, cluster);
  return whole.href;
}

/** A URL made by `urlInCluster` → the server's own, and the cluster's name. */
export function splitClusterUrl(url: string): { readonly url: string; readonly cluster: string | undefined } {
  const whole = new URL(url);
  const cluster = whole.searchParams.get(PARAMETER);
  if (cluster === null) return { url, cluster: undefined };
  whole.searchParams.delete(PARAMETER);
  return { url: whole.href, cluster };
}

/** What stands between a table's name and the rest in a statement that all servers of the cluster are to run; empty without one. */
export function onCluster(cluster: string | undefined): string {
  return cluster === undefined ? "" : ` ON CLUSTER '${cluster}'`;
}

import { describe, expect, it } from "vitest";
import { ClickHouse, openClickHouse, urlInCluster } from "../../src/index.ts";
import { clusterStatements, type ClusterLayout } from "../../src/cluster/cluster-statements.ts";

const layout: ClusterLayout = { cluster: "main", nShards: 2, names: "t", database: "t_shard", keys: { a: "x" } };
const substitute = (statement: string, tables: string) => statement.replaceAll("{{tables}}", tables).replaceAll("{{on_cluster}}", "ON CLUSTER 'main'").replaceAll("{{replicated}}", "Replicated");
const names = "CREATE OR REPLACE TABLE t.a ON CLUSTER 'main' AS t_shard.a ENGINE = Distributed('main', 't_shard', 'a', x) COMMENT 'over 2 shards'";

describe("a cluster", () => {
  it("gets a replicated table a shard, and a name over all of them", () => {
    const path = "'/clickhouse/tables/{shard}/t_shard/a', '{replica}'";
    const create = "-- Why.\n\nCREATE TABLE IF NOT EXISTS {{tables}}.a {{on_cluster}} (x UInt8) ENGINE = {{replicated}}ReplacingMergeTree(x) ORDER BY x";
    expect(clusterStatements(create, layout, substitute)).toEqual([`-- Why.\n\nCREATE TABLE IF NOT EXISTS t_shard.a ON CLUSTER 'main' (x UInt8) ENGINE = ReplicatedReplacingMergeTree(${path}, x) ORDER BY x`, names]);
    const alter = "ALTER TABLE {{tables}}.a {{on_cluster}} ADD COLUMN IF NOT EXISTS y UInt8";
    expect(clusterStatements(alter, layout, substitute)).toEqual(["ALTER TABLE t_shard.a ON CLUSTER 'main' ADD COLUMN IF NOT EXISTS y UInt8", names]);
    const drop = "DROP TABLE IF EXISTS {{tables}}.a {{on_cluster}}";
    expect(clusterStatements(drop, layout, substitute)).toEqual(["DROP TABLE IF EXISTS t.a ON CLUSTER 'main'", "DROP TABLE IF EXISTS t_shard.a ON CLUSTER 'main'"]);
    expect(clusterStatements("CREATE OR REPLACE VIEW v.a {{on_cluster}} AS SELECT x FROM {{tables}}.a", layout, substitute)).toEqual(["CREATE OR REPLACE VIEW v.a ON CLUSTER 'main' AS SELECT x FROM t.a"]);
    expect(() => clusterStatements(create.replace(".a", ".b"), layout, substitute)).toThrow("table b has no sharding key");
  });

  it("is told by the URL that connections are made from", async () => {
    const url = urlInCluster("http://localhost:8123", "main");
    const login = { username: "default", password: "" };
    await using inCluster = new ClickHouse({ url, login });
    await using alone = new ClickHouse({ url: "http://localhost:8123", login });
    expect([inCluster.cluster, alone.cluster]).toEqual(["main", undefined]);
    expect(() => urlInCluster("http://localhost:8123", "it's")).toThrow('got the cluster name "it\'s"');
    await expect(openClickHouse({ folder: "unused", cluster: "main" })).rejects.toThrow("the cluster main wants the URL of one of its servers");
  });
});

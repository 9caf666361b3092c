import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { FeatureView } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature";
import { ClickHouse, type ClickHouseServer } from "@mistral-sae/clickhouse";
import { Code } from "@mistral-sae/rpc";
import { startTwoShards, type TwoShards } from "./fixtures/two-shards.ts";
import { toyDocuments, writeToyCorpus } from "./fixtures/toy-corpus.ts";
import { startToyInference, TOY, type ToyInference } from "./fixtures/toy-inference.ts";
import { finished, removeFolder, startService, temporaryFolder, type TestService } from "./fixtures/with-service.ts";

let folder: string;
let toy: ToyInference;
let shards: TwoShards;
let alone: TestService;
let service: TestService;
beforeAll(async () => {
  folder = temporaryFolder();
  toy = await startToyInference();
  [shards, alone] = await Promise.all([startTwoShards(`${folder}/cluster`), startService(`${folder}/alone`, toy.address)]);
  service = await startService(`${folder}/data`, toy.address, shards.options);
  const uri = writeToyCorpus(`${folder}/corpus`, toyDocuments(200));
  const build = async (each: TestService) => {
    await each.index.createCorpus({ corpusId: "toy", source: { uri }, contextSize: 32 });
    return (await each.index.indexCorpus({ sae: TOY.sae, corpus: "corpora/toy" })).operation;
  };
  const inCluster = await build(service);
  for await (const { operation } of service.operations.watchOperation({ name: inCluster?.name ?? "" })) if (operation?.progress?.stage === "encode") break;
  shards.kill(2);
  await Promise.all([finished(service, inCluster), finished(alone, await build(alone))]);
  const entries = [3, 4].map((n) => ({ feature: `${TOY.sae}/features/${n}`, summary: { name: `${TOY.sae}/features/${n}/explanations/a`, description: `words of kind ${n}`, explanationType: "summary" } }));
  for (const each of [service, alone]) await each.index.putExplanations({ entries });
});
afterAll(async () => {
  await service.stop();
  await alone.stop();
  await toy.close(100);
  await shards.close();
  removeFolder(folder);
});

/** What a shard's own server answers to its owner. */
async function onShard<Row>({ url, owner }: ClickHouseServer, sql: string): Promise<Row[]> {
  await using clickhouse = new ClickHouse({ url, login: owner });
  return await clickhouse.rows<Row>(sql);
}

async function sql({ index }: TestService, text: string): Promise<string> {
  const parts: string[] = [];
  for await (const { data } of index.query({ sql: text })) parts.push(new TextDecoder().decode(data));
  return parts.join("");
}

const sums = async ({ index }: TestService) => (await index.listIndexes({ withTableChecksums: true })).indexes[0]?.tableChecksums;

describe("a cluster of two shards", () => {
  it("holds the rows that one server holds, each shard some of them, though a shard was killed on the way", async () => {
    expect(await sums(service)).toEqual(await sums(alone));
    for (const table of ["documents", "sequences", "features", "feature_examples"]) {
      const counts = await Promise.all(shards.servers.map((server) => onShard<{ n: number }>(server, `SELECT count() AS n FROM mistral_sae_shard.${table}`)));
      for (const [row] of counts) expect(row?.n, table).toBeGreaterThan(0);
    }
  });

  it("shows the same pages, lists and searches", async () => {
    for (const n of [0, 3, 4, 5]) {
      const page = async ({ index }: TestService) => (await index.getFeature({ name: `${TOY.sae}/features/${n}`, view: FeatureView.FULL })).feature;
      expect(await page(service)).toEqual(await page(alone));
    }
    const list = async ({ index }: TestService) => (await index.listFeatures({ parent: TOY.sae, filter: "explained = true OR n_firings > 3", orderBy: "max_activation desc", pageSize: 20 })).features;
    expect(await list(service)).toEqual(await list(alone));
    const words = async ({ index }: TestService) => (await index.searchExplanations({ parent: TOY.sae, query: "word3 kind" })).hits;
    expect(await words(service)).toEqual(await words(alone));
  });

  it.each([
    "SELECT index_name, count() AS n, round(sum(activation), 3) AS total FROM activations GROUP BY index_name",
    "SELECT feature_index, dead, n_firings, description FROM features ORDER BY feature_index",
    "SELECT token_id, str_token, n FROM tokens ORDER BY token_id LIMIT 50",
    "SELECT d.source AS source, count() AS n FROM documents AS d INNER JOIN sequences AS s ON s.doc_id = d.doc_id WHERE d.doc_id IN (SELECT doc_id FROM sequences WHERE sequence_id < 40) GROUP BY source ORDER BY source",
    "SELECT feature_index, description FROM explanations ORDER BY feature_index",
  ])("answers %s as one server does", async (text) => {
    expect(await sql(service, text)).toBe(await sql(alone, text));
  });

  it("tells and merges what lies on all shards, and refuses backups by name", async () => {
    const { tables } = await service.index.getStorage({});
    const rowsOf = (name: string) => tables.find(({ table }) => table === name)?.nRows;
    expect(rowsOf("features")).toBe(BigInt(TOY.dSae));
    await expect(service.index.createBackup({ backupId: "b" })).rejects.toMatchObject({ code: Code.FailedPrecondition, reason: "BACKUP_ON_CLUSTER" });
  });

  it("makes and verifies its tables on every server, in statements that the engine's parser takes with replication", async () => {
    const made = shards.onCluster.filter((text) => /CREATE|ALTER/.test(text));
    expect(made.filter((text) => text.includes("Replicated")).length).toBeGreaterThan(15);
    const [first] = shards.servers as [ClickHouseServer];
    await using owner = new ClickHouse({ url: first.url, login: first.owner });
    for (const text of made) await owner.row("SELECT formatQuery({text:String}) AS text", { text });
    for (const text of made.filter((statement) => statement.includes("Replicated") && !statement.includes("schema_migrations"))) {
      expect(text).toMatch(/ENGINE = Replicated\w*MergeTree\('\/clickhouse\/tables\/\{shard\}\/mistral_sae_shard\/(\w+)', '\{replica\}'(, version)?\)/);
      // All but the keeper is there: columns, keys, settings and the engine's arguments are taken.
      await expect(owner.command(text.replace(" ON CLUSTER 'main'", "").replace("mistral_sae_shard.", "default.")), text).rejects.toMatchObject({ type: "NO_ZOOKEEPER" });
    }
    const before = shards.onCluster.length;
    await (await startService(`${folder}/second`, toy.address, shards.options)).stop();
    expect(shards.onCluster.slice(before)).toEqual([]);
    await onShard(shards.servers[1] as ClickHouseServer, "ALTER TABLE mistral_sae_shard.features DROP COLUMN w_dec_norm");
    await expect(startService(`${folder}/second`, toy.address, shards.options)).rejects.toThrow(/table mistral_sae_shard\.features on server 2 \(.*\) has no column w_dec_norm, which 0003_features\.sql made/);
    await onShard(shards.servers[1] as ClickHouseServer, "ALTER TABLE mistral_sae_shard.features ADD COLUMN w_dec_norm Float32 CODEC(ZSTD(1)) AFTER coactive_together");
    await expect(startService(`${folder}/second`, toy.address, { ...shards.options, clickhouseCluster: "other" })).rejects.toThrow("the ClickHouse server knows no cluster other, wanted one of main");
  });

  it("forgets an index and a corpus on all shards", async () => {
    await service.index.deleteSaeData({ sae: TOY.sae });
    await service.index.deleteCorpus({ name: "corpora/toy" });
    for (const server of shards.servers) {
      const rows = await onShard<{ table: string }>(server, "SELECT DISTINCT table FROM system.parts WHERE database = 'mistral_sae_shard' AND active AND rows > 0 AND table NOT IN ('vocabularies', 'index_names', 'corpus_names', 'explanations')");
      expect([...rows, ...(await onShard(server, "SELECT 'explanations' AS table FROM mistral_sae_shard.explanations"))]).toEqual([]);
    }
  });
});

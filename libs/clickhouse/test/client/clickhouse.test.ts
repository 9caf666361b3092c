import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { fixedColumn, SqlError } from "../../src/index.ts";
import { type TestServer, testServer } from "../fixtures/with-server.ts";

let test: TestServer;
beforeAll(async () => void (test = await testServer()));
afterAll(() => test.end());

async function running(): Promise<number> {
  const { n } = await test.owner.row<{ n: number }>("SELECT count() AS n FROM system.processes WHERE query LIKE '%sipHash64(number)%' AND query NOT LIKE '%processes%'");
  return n;
}

const ENDLESS = "SELECT sum(sipHash64(number)) FROM numbers_mt(200000000000)";

describe("ClickHouse", () => {
  it("binds parameters, so that text never becomes SQL", async () => {
    const text = "'; DROP TABLE x; -- \\ \n ☃";
    expect(await test.owner.rows("SELECT {text:String} AS text, {ids:Array(UInt32)} AS ids", { text, ids: [3, 1] })).toEqual([{ text, ids: [3, 1] }]);
  });

  it("tells what kind of failure it was", async () => {
    await expect(test.owner.rows("SELEC 1")).rejects.toMatchObject({ name: "SqlError", failure: "statement", type: "SYNTAX_ERROR" });
    await expect(test.owner.rows("SELECT no_such_column")).rejects.toMatchObject({ failure: "statement", code: 47 });
    await expect(test.owner.rows("SELECT sleep(3)", {}, { settings: { max_execution_time: 1 } })).rejects.toMatchObject({ failure: "time" });
  });

  it("streams bytes in a format and reports a failure that comes after the first of them", async () => {
    let bytes = 0;
    for await (const chunk of test.owner.bytes("SELECT number FROM numbers(100000)", "RowBinary")) bytes += chunk.length;
    expect(bytes).toBe(800_000);
    const failing = async () => {
      let seen = 0;
      try {
        for await (const chunk of test.owner.bytes("SELECT throwIf(number = 3000000, 'too far') FROM numbers(4000000)", "RowBinary", {}, { settings: { max_block_size: "65536" } })) seen += chunk.length;
      } catch (error) {
        return { seen, error };
      }
      return { seen, error: undefined };
    };
    const { seen, error } = await failing();
    expect(seen).toBeGreaterThan(0);
    expect(seen).toBeLessThanOrEqual(3_000_000);
    expect(error).toBeInstanceOf(SqlError);
    expect(String(error)).toContain("too far");
  });

  it("reports a failure in the middle of rows", async () => {
    const call = test.owner.rows("SELECT throwIf(number = 3000000, 'too far') AS x FROM numbers(4000000)", {}, { settings: { max_block_size: "65536" } });
    await expect(call).rejects.toMatchObject({ name: "SqlError", code: 395 });
  });

  it("is not misled by a comment at the end of a statement", async () => {
    const chunks: Uint8Array[] = [];
    for await (const chunk of test.owner.bytes("SELECT 1 -- the end", "TSV")) chunks.push(chunk);
    expect(Buffer.concat(chunks).toString()).toBe("1\n");
  });

  it("kills the query of a call that is aborted", async () => {
    const abort = new AbortController();
    const call = test.owner.rows(ENDLESS, {}, { signal: abort.signal });
    while ((await running()) === 0) await sleep(20);
    abort.abort();
    await expect(call).rejects.toMatchObject({ failure: "cancelled" });
    while ((await running()) > 0) await sleep(20);
    expect(await running()).toBe(0);
  });

  it("kills the query of a stream that is left early", async () => {
    for await (const chunk of test.owner.bytes("SELECT sipHash64(number) FROM numbers(20000000000)", "RowBinary")) {
      expect(chunk.length).toBeGreaterThan(0);
      break;
    }
    while ((await running()) > 0) await sleep(20);
    expect(await running()).toBe(0);
  });

  it("stores a repeated insert once when it carries the same token", async () => {
    await test.owner.command("CREATE TABLE once (a UInt32) ENGINE = MergeTree ORDER BY a SETTINGS non_replicated_deduplication_window = 100");
    const insert = async (first: number, deduplicationToken: string) => {
      await test.owner.insertColumns("once", [fixedColumn("a", "UInt32", Uint32Array.of(first, first + 1))], { deduplicationToken });
    };
    await insert(1, "shard-0");
    await insert(3, "shard-1");
    await insert(1, "shard-0");
    expect(await test.owner.rows("SELECT a FROM once ORDER BY a")).toEqual([{ a: 1 }, { a: 2 }, { a: 3 }, { a: 4 }]);
  });

  it("lets a token be used again after its partition was dropped", async () => {
    await test.owner.command("CREATE TABLE parted (i UInt32, a UInt32) ENGINE = MergeTree PARTITION BY i ORDER BY a SETTINGS non_replicated_deduplication_window = 100");
    const insert = () => test.owner.insertColumns("parted", [fixedColumn("i", "UInt32", Uint32Array.of(5)), fixedColumn("a", "UInt32", Uint32Array.of(1))], { deduplicationToken: "5/0" });
    await insert();
    await test.owner.command("ALTER TABLE parted DROP PARTITION 5");
    await insert();
    expect(await test.owner.rows("SELECT i, a FROM parted")).toEqual([{ i: 5, a: 1 }]);
  });
});

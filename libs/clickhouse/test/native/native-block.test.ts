import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { arrayColumn, constantColumn, encodeNativeBlock, fixedColumn, joinParts, nullableColumn, stringArrayColumn, stringColumn } from "../../src/index.ts";
import { type TestServer, testServer } from "../fixtures/with-server.ts";

let test: TestServer;
beforeAll(async () => void (test = await testServer()));
afterAll(() => test.end());

describe("encodeNativeBlock", () => {
  it("stores every type as it was given", async () => {
    await test.owner.command(`CREATE TABLE every (id UInt32, u8 UInt8, u16 UInt16, u64 UInt64, bf BFloat16, f32 Float32, f64 Float64, text String,
      low LowCardinality(String), list Array(UInt16), acts Array(BFloat16), words Array(String), score Nullable(Float64)) ENGINE = MergeTree ORDER BY id`);
    const texts = ["", "zażółć 🌊", "x".repeat(300)];
    await test.owner.insertColumns("every", [
      fixedColumn("id", "UInt32", Uint32Array.of(1, 2, 4_294_967_295)),
      constantColumn("u8", "UInt8", 9, 3),
      fixedColumn("u16", "UInt16", Uint16Array.of(0, 1, 65_535)),
      fixedColumn("u64", "UInt64", BigUint64Array.of(0n, 1n, 2n ** 64n - 1n)),
      fixedColumn("bf", "BFloat16", Uint16Array.of(0x3f80, 0x4000, 0xc080)),
      fixedColumn("f32", "Float32", Float32Array.of(0.5, -1.25, 3e38)),
      fixedColumn("f64", "Float64", Float64Array.of(0.1, -1e300, 5e-324)),
      stringColumn("text", texts),
      stringColumn("low", ["a", "b", "a"]),
      arrayColumn("list", "UInt16", Uint32Array.of(0, 2, 3), Uint16Array.of(7, 8, 9)),
      arrayColumn("acts", "BFloat16", Uint32Array.of(1, 1, 2), Uint16Array.of(0x3f80, 0x4040)),
      stringArrayColumn("words", Uint32Array.of(2, 2, 3), ["sea", "swim", ""]),
      nullableColumn("score", "Float64", Uint8Array.of(0, 1, 0), Float64Array.of(0.5, 0, 0)),
    ]);
    const rows = await test.owner.rows(
      "SELECT id, u8, u16, toString(u64) AS u64, toFloat32(bf) AS bf, f32, f64, text, low, list, arrayMap(a -> toFloat32(a), acts) AS acts, words, score FROM every ORDER BY id",
    );
    expect(rows).toEqual([
      { id: 1, u8: 9, u16: 0, u64: "0", bf: 1, f32: 0.5, f64: 0.1, text: texts[0], low: "a", list: [], acts: [1], words: ["sea", "swim"], score: 0.5 },
      { id: 2, u8: 9, u16: 1, u64: "1", bf: 2, f32: -1.25, f64: -1e300, text: texts[1], low: "b", list: [7, 8], acts: [], words: [], score: null },
      { id: 4_294_967_295, u8: 9, u16: 65_535, u64: String(2n ** 64n - 1n), bf: -4, f32: 3e38, f64: 5e-324, text: texts[2], low: "a", list: [9], acts: [3], words: [""], score: 0 },
    ]);
  });

  it("stores a block of a million values in one part", async () => {
    const n = 200_000;
    await test.owner.command("CREATE TABLE big (feature UInt32, pos Array(UInt16)) ENGINE = MergeTree ORDER BY feature");
    const ends = Uint32Array.from({ length: n }, (_, row) => 5 * (row + 1));
    await test.owner.insertColumns("big", [
      fixedColumn("feature", "UInt32", Uint32Array.from({ length: n }, (_, row) => row)),
      arrayColumn("pos", "UInt16", ends, Uint16Array.from({ length: 5 * n }, (_, i) => i % 65_536)),
    ]);
    const { parts } = await test.owner.row<{ parts: number }>("SELECT uniqExact(_part) AS parts FROM big");
    expect(parts).toBe(1);
    expect(await test.owner.row("SELECT count() AS n, sum(length(pos)) AS values, pos AS first FROM big WHERE feature = 1 GROUP BY pos")).toEqual({ n: 1, values: 5, first: [5, 6, 7, 8, 9] });
  });

  it("refuses columns of different lengths and offsets that miss the values", () => {
    expect(() => encodeNativeBlock([constantColumn("a", "UInt8", 1, 3), constantColumn("b", "UInt8", 1, 2)])).toThrow("column b has 2 rows, wanted the 3 of a");
    expect(() => arrayColumn("pos", "UInt16", Uint32Array.of(3), Uint16Array.of(1))).toThrow("column pos has 1 values, wanted the 3");
  });

  it("joins the parts without a gap", () => {
    expect([...joinParts([Uint8Array.of(1), new Uint8Array(0), Uint8Array.of(2, 3)])]).toEqual([1, 2, 3]);
  });
});

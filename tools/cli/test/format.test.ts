import { expect, test } from "vitest";
import { bars } from "../src/sparkline.ts";
import { formatBytes, formatFields, formatNumber, formatSeconds, formatTable, oneLine } from "../src/format.ts";
import { wrap } from "../src/side-by-side.ts";
import { parseSaeName } from "../src/resources.ts";

test("tables set text to the left and numbers to the right", () => {
  const rows = [
    { name: "a", size: 5, share: "10%" },
    { name: "long name", size: 1234.5678, share: "5%" },
  ];
  const table = formatTable(rows, [
    { header: "name", cell: (row) => row.name },
    { header: "size", cell: (row) => row.size },
    { header: "share", cell: (row) => row.share },
  ]);
  expect(table).toBe("NAME       SIZE  SHARE\na             5    10%\nlong name  1235     5%");
});

test("a cell keeps to its line and its width", () => {
  expect(oneLine("a\nb\tc", 10)).toBe("a⏎b⇥c");
  expect(oneLine("abcdefgh", 4)).toBe("abc…");
  expect(oneLine("👍👍👍👍", 3)).toBe("👍👍…");
});

test("numbers, bytes and times are short", () => {
  expect([0, 42, 0.0841234, 1e-9, 12_345_678.9].map(formatNumber)).toEqual(["0", "42", "0.08412", "1.000e-9", "1.235e+7"]);
  expect([512, 2048, 3 * 2 ** 30].map(formatBytes)).toEqual(["512 B", "2.0 KiB", "3.0 GiB"]);
  expect([4.21, 187, 7500].map(formatSeconds)).toEqual(["4.2s", "3m07s", "2h05m"]);
});

test("fields without a value are left out", () => {
  expect(formatFields([["a", 1], ["bcd", ""], ["e", undefined], ["fg", "x"]])).toBe("a   1\nfg  x");
});

test("histograms are drawn on a logarithmic scale", () => {
  expect(bars([0, 1, 10, 1000])).toBe(" ▁▃█");
});

test("text is broken at spaces, long words are cut, line breaks stay", () => {
  expect(wrap("one two three\nabcdefghij", 8)).toEqual(["one two", "three", "abcdefgh", "ij"]);
});

test("an SAE may be named in full or shortly", () => {
  expect(parseSaeName("models/m/saes/s")).toBe("models/m/saes/s");
  expect(parseSaeName("m/s")).toBe("models/m/saes/s");
  expect(parseSaeName("s")).toBeUndefined();
});

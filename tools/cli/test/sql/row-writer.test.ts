import { expect, test } from "vitest";
import { csvWriter, jsonWriter } from "../../src/sql/row-writer.ts";

test("CSV has its header once, quotes what needs it, and leaves NULL empty", () => {
  const writer = csvWriter();
  expect(writer.rows(['{"a":1,"b":"x, \\"y\\"","c":[1,2]}'], ["a", "b", "c"])).toBe('a,b,c\n1,"x, ""y""","[1,2]"\n');
  expect(writer.rows(['{"a":null,"b":"two\\nlines","c":{}}'], [])).toBe(',"two\nlines",{}\n');
  expect(csvWriter().rows([], ["only"])).toBe("only\n");
});

test("JSON stays as it came", () => {
  expect(jsonWriter.rows(['{"a":1.50}', "{}"], ["a"])).toBe('{"a":1.50}\n{}\n');
});

import { describe, expect, it } from "vitest";
import { formOf, inForm } from "../../src/exchange/import/value-form.ts";

describe("formOf", () => {
  it.each([
    ["rounded decimals", [0, 3.142, 0.001, 12.5, 1234.567], 0],
    ["whole Float32", [0, Math.fround(0.1), Math.fround(3.14159), 2], 1],
    ["doubles", [0, 0.123456789012345], 2],
    ["large decimals that no Float32 tells apart", [123_456.789], 2],
  ] as const)("tells how %s come back from Float32", (_, values, form) => {
    expect(formOf(values)).toBe(form);
    // Doubles are kept as they are, beside the rounded ones.
    expect(form === 2 ? values : values.map((value) => inForm(Math.fround(value), form))).toEqual(values);
  });
});

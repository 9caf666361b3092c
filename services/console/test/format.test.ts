import { expect, test } from "vitest";
import { count, idOf, percent, seconds, short, token, word } from "../src/format.ts";

test("64-bit numbers come as strings and absent ones count as zero", () => {
  expect(count("48000000")).toBe("48,000,000");
  expect(count(undefined)).toBe("0");
  expect(percent(0.0015)).toBe("0.15%");
});

test("numbers are short at every size", () => {
  expect([0, 3, 0.08412345, 12345.678, 1e9, 1e-7].map(short)).toEqual(["0", "3", "0.08412", "12350", "1.00e+9", "1.00e-7"]);
});

test("names, states, times and tokens read as people say them", () => {
  expect(idOf("models/m/saes/demo")).toBe("demo");
  expect(word("MODEL_STATE_READY", "MODEL_STATE_")).toBe("ready");
  expect([4.21, 187, 7500].map(seconds)).toEqual(["4.2 s", "3m07s", "2h05m"]);
  expect(token(" a\n")).toBe("␣a⏎");
});

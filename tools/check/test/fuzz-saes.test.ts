import { describe, expect, it } from "vitest";
import { fuzzSaes } from "../src/acceptance/fuzz-saes.ts";

describe("damaged SAEs of every format", () => {
  it("are used or refused by file or field, without a crash, a hang or memory that their bytes do not ask for", { timeout: 120_000 }, async () => {
    const { cases, used, refused, faults } = await fuzzSaes({ cases: 400, seed: 5 });
    expect(faults).toEqual([]);
    expect(used + refused).toBe(cases);
    expect(used).toBeGreaterThan(10);
    expect(refused).toBeGreaterThan(100);
  });
});

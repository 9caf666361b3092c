import { describe, expect, it } from "vitest";
import { fuzzModels } from "../src/acceptance/fuzz-models.ts";

describe.each(["headers", "configs"] as const)("model folders with damaged %s", (what) => {
  it("are read or refused by file and field, without a crash or a hang", { timeout: 120_000 }, async () => {
    const { cases, used, refused, faults } = await fuzzModels(what, { cases: 500, seed: 7 });
    expect(faults).toEqual([]);
    expect(used + refused).toBe(cases);
    expect(used).toBeGreaterThan(5);
    expect(refused).toBeGreaterThan(100);
  });
});

import { describe, expect, it } from "vitest";
import { fuzzTokenizers } from "../src/acceptance/fuzz-tokenizers.ts";

describe("damaged tokenizers of every format", () => {
  it("are used or refused by the field, without a crash or a hang", { timeout: 120_000 }, async () => {
    const { cases, used, refused, faults } = await fuzzTokenizers({ cases: 300, seed: 5 });
    expect(faults).toEqual([]);
    expect(used + refused).toBe(cases);
    expect(used).toBeGreaterThan(10);
    expect(refused).toBeGreaterThan(10);
  });
});

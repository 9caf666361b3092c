import { expect, it } from "vitest";
import { runHostileSql } from "../src/acceptance/hostile-sql.ts";

it("hostile SQL writes nothing, reads no file, opens no connection, sees no system table and outlives no limit", { timeout: 120_000 }, async () => {
  const { cases, answered, refused, faults } = await runHostileSql({ cases: 300, seed: 7, bombEvery: 60 });
  expect(faults).toEqual([]);
  expect(cases).toBe(300);
  expect(answered + Object.values(refused).reduce((sum, n) => sum + n, 0)).toBe(300);
  expect(refused["PermissionDenied"]).toBeGreaterThan(100);
});

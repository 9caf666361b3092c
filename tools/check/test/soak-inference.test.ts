import { expect, it } from "vitest";
import { soak } from "../src/soak/soak.ts";

it("150 random requests at once give what each gives alone, and leave nothing behind", async () => {
  const { faults, close, ends, load, cachedTokens } = await soak({ requests: 150, seed: 4, concurrency: 48, cacheMib: 8 });
  expect(faults).toEqual([]);
  expect(close).toBeLessThanOrEqual(3);
  expect(ends["OK"]).toBeGreaterThan(100);
  expect(cachedTokens).toBeGreaterThan(0);
  expect(load).toMatchObject({ rows: 0, queuedRequests: 0, activeRequests: 0, kvBytesReserved: 0n, slots: load?.prefixes ?? -1 });
  expect(load?.kvBytesHeld).toBeLessThanOrEqual(load?.kvBytesBudget ?? 0n);
}, 240_000);

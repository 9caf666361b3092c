import type { Load } from "@mistral-sae/contracts/mistral_sae/inference/v1/model";
import { expect } from "vitest";
import type { TestService } from "./service.ts";

export async function loadOf(service: TestService): Promise<Load> {
  const { load } = await service.inference.getCapabilities({});
  if (load === undefined) throw new Error("the capabilities tell no load");
  return load;
}

/** Waits until nothing runs, and checks that every slot but those of kept prefixes was given back. */
export async function expectIdle(service: TestService): Promise<void> {
  await expect.poll(async () => (await loadOf(service)).rows).toBe(0);
  const { queuedRequests, activeRequests, kvBytesReserved, slots, prefixes } = await loadOf(service);
  expect({ queuedRequests, activeRequests, kvBytesReserved, slots }).toEqual({ queuedRequests: 0, activeRequests: 0, kvBytesReserved: 0n, slots: prefixes });
}

import { Code, type RpcError } from "@mistral-sae/rpc";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { expectIdle, loadOf } from "./support/load.ts";
import { ids, text } from "./support/messages.ts";
import { type Asked, recordingOpener } from "./support/recorded-engine.ts";
import { removeData, startService, type TestService } from "./support/service.ts";

const endless = { prompt: text("Once upon a time"), sampling: { temperature: 1, maxTokens: 500, ignoreEos: true } };
const record: Asked[] = [];

let service: TestService;
beforeAll(async () => {
  service = await startService({ prefixCache: false }, recordingOpener(record));
});
afterAll(async () => {
  await service.stop();
  await removeData(service);
});
beforeEach(() => {
  record.length = 0;
});

/** Reads a generation until it fails. */
async function fail(options: { signal?: AbortSignal; timeoutMs?: number }, request: Parameters<TestService["inference"]["generate"]>[0] = endless, onEvent: () => void = () => undefined): Promise<RpcError> {
  try {
    for await (const _ of service.inference.generate(request, options)) onEvent();
  } catch (error) {
    return error as RpcError;
  }
  throw new Error("the generation ended");
}

/** What each slot was used for after it had been given back. */
function usedAfterFree(): Asked[] {
  const freed = new Set<number>();
  return record.filter(({ name, slots }) => {
    const used = name === "decode" && slots.some((slot) => freed.has(slot));
    if (name === "free") for (const slot of slots) freed.add(slot);
    return used;
  });
}

describe("a generation that is over before its end", () => {
  it("by a cancel gives its slots back at once: no further token is decoded for them", async () => {
    const stop = new AbortController();
    let events = 0;
    const variants = ["a", "b", "c"].map((variantId) => ({ variantId }));
    const error = await fail({ signal: stop.signal }, { ...endless, variants }, () => {
      if (++events === 20) stop.abort();
    });
    expect(error.code).toBe(Code.Canceled);
    await expectIdle(service);
    expect(usedAfterFree()).toEqual([]);
    expect(record.filter(({ name }) => name === "free").flatMap(({ slots }) => slots)).toHaveLength(3);
  });

  it("by its deadline does so too, while it decodes, waits or reads its prompt", async () => {
    const long = { ...endless, prompt: ids([1, ...Array.from({ length: 400 }, (_, i) => 100 + i)]), sampling: { ...endless.sampling, maxTokens: 100 } };
    const errors = await Promise.all(Array.from({ length: 30 }, (_, i) => fail({ timeoutMs: 5 + i * 5 }, i % 2 === 0 ? endless : long)));
    expect(errors.every(({ code }) => code === Code.DeadlineExceeded)).toBe(true);
    await expectIdle(service);
    expect(usedAfterFree()).toEqual([]);
  });

  it("because its reader went away does so too", async () => {
    for await (const { event } of service.inference.generate(endless)) if (event.case === "step" && event.value.step === 3) break;
    await expectIdle(service);
    expect(usedAfterFree()).toEqual([]);
  });

  it("before it began leaves the queue", async () => {
    const narrow = await startService({ maxBatchRows: 1 });
    try {
      const stops = Array.from({ length: 4 }, () => new AbortController());
      const runs = stops.map(async ({ signal }) => {
        for await (const _ of narrow.inference.generate(endless, { signal })) void _;
      });
      const ends = runs.map((run) => run.catch((error: unknown) => (error as RpcError).code));
      await expect.poll(async () => (await loadOf(narrow)).queuedRequests).toBe(3);
      for (const stop of stops.slice(1)) stop.abort();
      await expect.poll(async () => (await loadOf(narrow)).queuedRequests).toBe(0);
      expect((await loadOf(narrow)).rows).toBe(1);
      stops[0]?.abort();
      expect(await Promise.all(ends)).toEqual(ends.map(() => Code.Canceled));
      await expectIdle(narrow);
    } finally {
      await narrow.stop();
      await removeData(narrow);
    }
  });
});

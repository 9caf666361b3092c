import { setTimeout as sleep } from "node:timers/promises";
import { Code, type RpcError } from "@mistral-sae/rpc";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { generate, idsOf, textOf, variantOf } from "./support/generate.ts";
import { text } from "./support/messages.ts";
import { removeData, startService, type TestService } from "./support/service.ts";

const prompt = text("Once upon a time");
const endless = { temperature: 1, maxTokens: 500, ignoreEos: true };

let service: TestService;
beforeAll(async () => {
  service = await startService({ maxBatchRows: 2, maxQueued: 4 });
});
afterAll(async () => {
  await service.stop();
  await removeData(service);
});

/** Starts a generation and returns once its first token is there; `end` resolves with its error. */
async function begin(options: { signal?: AbortSignal; timeoutMs?: number } = {}): Promise<{ end: Promise<RpcError | undefined> }> {
  const events = service.inference.generate({ prompt, sampling: endless }, options)[Symbol.asyncIterator]();
  await events.next();
  await events.next();
  const end = (async () => {
    try {
      for (;;) if ((await events.next()).done === true) return undefined;
    } catch (error) {
      return error as RpcError;
    }
  })();
  return { end };
}

describe("a full cache", () => {
  it("lets generations run one after another, each to its end", async () => {
    // 2 MiB hold one sequence of 512 positions, and not four.
    const small = await startService({ cacheMib: 2 });
    try {
      const long = { prompt, sampling: { ...endless, seed: 1n } };
      const texts = await Promise.all(Array.from({ length: 4 }, async () => textOf(variantOf(await generate(small, long)))));
      expect(new Set(texts).size).toBe(1);
    } finally {
      await small.stop();
      await removeData(small);
    }
  });

  it("refuses what can never fit, and says in which numbers", async () => {
    const small = await startService({ cacheMib: 2 });
    try {
      const variants = ["a", "b", "c"].map((variantId) => ({ variantId }));
      const refused = generate(small, { prompt, variants, sampling: { maxTokens: 400 } });
      await expect(refused).rejects.toMatchObject({ code: Code.InvalidArgument, reason: "MEMORY_BUDGET", message: expect.stringMatching(/3 variants of 40\d tokens.* take \d+ bytes .* wanted at most 2097152/) as string });
    } finally {
      await small.stop();
      await removeData(small);
    }
  });
});

describe("a full batch", () => {
  it("takes the next generation as soon as one is cancelled", async () => {
    const [first, second] = [new AbortController(), new AbortController()];
    const runs = [await begin({ signal: first.signal }), await begin({ signal: second.signal })];
    const third = generate(service, { prompt, sampling: { temperature: 0, maxTokens: 5 } });
    first.abort();
    expect(idsOf(variantOf(await third))).toHaveLength(5);
    second.abort();
    for (const { end } of runs) expect((await end)?.code).toBe(Code.Canceled);
  });

  it("frees the rows of a generation whose deadline passes", async () => {
    const runs = [await begin({ timeoutMs: 400 }), await begin({ timeoutMs: 400 })];
    expect(idsOf(variantOf(await generate(service, { prompt, sampling: { temperature: 0, maxTokens: 5 } })))).toHaveLength(5);
    for (const { end } of runs) expect((await end)?.code).toBe(Code.DeadlineExceeded);
  });

  it("refuses what is beyond its queue at once, and says when to come back", async () => {
    const stop = new AbortController();
    const runs = [await begin({ signal: stop.signal }), await begin({ signal: stop.signal })];
    const waiting = Array.from({ length: 4 }, () => generate(service, { prompt, sampling: endless }, stop.signal).catch((error: unknown) => error));
    await sleep(100);
    const error = (await generate(service, { prompt, sampling: endless }).catch((refused: unknown) => refused)) as RpcError;
    expect(error).toMatchObject({ code: Code.ResourceExhausted, reason: "CONCURRENCY_LIMIT", retryDelayMs: 1000 });
    stop.abort();
    await Promise.all([...runs.map(({ end }) => end), ...waiting]);
    // The cancels reach the server a moment after they are seen here.
    const again = () => generate(service, { prompt, sampling: { temperature: 0, maxTokens: 1 } }).then(
      () => true,
      () => false,
    );
    await expect.poll(again).toBe(true);
  });

  it("gives every waiting generation its turn, with the text it has alone", async () => {
    const request = (seed: number) => ({ prompt, sampling: { temperature: 1, maxTokens: 12, seed: BigInt(seed), ignoreEos: true } });
    const alone: string[] = [];
    for (let seed = 0; seed < 4; seed++) alone.push(textOf(variantOf(await generate(service, request(seed)))));
    const together = await Promise.all([0, 1, 2, 3].map((seed) => generate(service, request(seed))));
    expect(together.map((run) => textOf(variantOf(run)))).toEqual(alone);
  });

  it("refuses more variants than it has rows", async () => {
    const variants = ["a", "b", "c"].map((variantId) => ({ variantId }));
    await expect(generate(service, { prompt, variants })).rejects.toThrow("variants: got 3, wanted at most 2");
  });

  it("holds up a reader that does not read, and nobody else", async () => {
    const stop = new AbortController();
    const idle = service.inference.generate({ prompt, sampling: endless }, { signal: stop.signal })[Symbol.asyncIterator]();
    await idle.next();
    const run = await generate(service, { prompt, sampling: { temperature: 0, maxTokens: 20 } });
    expect(idsOf(variantOf(run))).toHaveLength(20);
    stop.abort();
    await idle.next().catch(() => undefined);
  });
});

import { afterEach, describe, expect, it } from "vitest";
import { WorkerPool } from "../../src/workers/worker-pool.ts";

const script = new URL("../fixtures/echo-worker.ts", import.meta.url);
let pool: WorkerPool;
afterEach(() => pool.close());

describe("WorkerPool", () => {
  it("runs more tasks than threads, and hands memory over", async () => {
    pool = new WorkerPool(script, 2);
    const memory = new Uint8Array([1, 2, 3]);
    const results = await Promise.all([pool.run({ double: 2 }), pool.run({ bytes: memory }, [memory.buffer]), ...Array.from({ length: 8 }, (_, i) => pool.run({ double: i }))]);
    expect(results).toEqual([4, Uint8Array.of(1, 2, 3), 0, 2, 4, 6, 8, 10, 12, 14]);
    expect(memory.byteLength).toBe(0);
  });

  it("rejects with what a task threw, and goes on", async () => {
    pool = new WorkerPool(script, 1);
    await expect(pool.run({ fail: "no such feature" })).rejects.toThrow("no such feature");
    expect(await pool.run({ double: 1 })).toBe(2);
  });

  it("replaces a thread that died", async () => {
    pool = new WorkerPool(script, 1);
    await expect(pool.run({ die: true })).rejects.toThrow("ended with code 3");
    expect(await pool.run({ double: 5 })).toBe(10);
  });

  it("rejects what was under way when it is ended", async () => {
    pool = new WorkerPool(script, 1);
    const both = Promise.allSettled([pool.run({ forever: true }), pool.run({ double: 1 })]);
    await pool.close();
    for (const result of await both) expect(result).toMatchObject({ status: "rejected", reason: { message: "the workers have been ended" } });
    await expect(pool.run({ double: 1 })).rejects.toThrow("have been ended");
  });
});

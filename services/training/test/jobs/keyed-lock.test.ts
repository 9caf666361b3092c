import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { KeyedLock } from "../../src/jobs/keyed-lock.ts";

describe("KeyedLock", () => {
  it("runs the work of one key in turn and that of others beside it", async () => {
    const lock = new KeyedLock();
    const events: string[] = [];
    const work = (key: string, name: string) =>
      lock.run(key, async () => {
        events.push(`${name} begins`);
        await sleep(5);
        events.push(`${name} ends`);
      });
    await Promise.all([work("a", "first"), work("a", "second"), work("b", "other")]);
    expect(events.filter((event) => !event.startsWith("other"))).toEqual(["first begins", "first ends", "second begins", "second ends"]);
    expect(events.indexOf("other begins")).toBeLessThan(events.indexOf("first ends"));
  });

  it("holds several keys at once without two waiting for each other", async () => {
    const lock = new KeyedLock();
    let running = 0;
    const work = (keys: readonly string[]) =>
      lock.runAll(keys, async () => {
        running += 1;
        await sleep(2);
        expect(running).toBe(1);
        running -= 1;
        return keys.join();
      });
    const done = await Promise.all([work(["b", "a"]), work(["a", "b"]), work(["b", "b", "a"]), lock.run("c", () => Promise.resolve("c"))]);
    expect(done).toEqual(["b,a", "a,b", "b,b,a", "c"]);
  });

  it("goes on after work that failed", async () => {
    const lock = new KeyedLock();
    const failed = lock.run("a", () => Promise.reject(new Error("broke")));
    const next = lock.run("a", () => Promise.resolve("fine"));
    await expect(failed).rejects.toThrow("broke");
    expect(await next).toBe("fine");
  });
});

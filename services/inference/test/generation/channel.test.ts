import { describe, expect, it } from "vitest";
import { Channel } from "../../src/generation/channel.ts";

describe("a channel", () => {
  it("gives everything in order, then its end", async () => {
    const channel = new Channel<number>(4);
    for (let i = 0; i < 200; i++) channel.push(i);
    channel.end();
    const read: number[] = [];
    for await (const item of channel) read.push(item);
    expect(read).toEqual(Array.from({ length: 200 }, (_, i) => i));
  });

  it("wakes a reader that waits, and passes on an error after what came before", async () => {
    const channel = new Channel<number>(4);
    const iterator = channel[Symbol.asyncIterator]();
    const first = iterator.next();
    channel.push(7);
    expect(await first).toEqual({ done: false, value: 7 });
    channel.push(8);
    channel.end(new Error("over"));
    expect(await iterator.next()).toEqual({ done: false, value: 8 });
    await expect(iterator.next()).rejects.toThrow("over");
  });

  it("says when it is full, and once it has been read down to half", async () => {
    const channel = new Channel<number>(4);
    let drained = 0;
    channel.onDrained = () => drained++;
    for (let i = 0; i < 4; i++) channel.push(i);
    expect(channel.full).toBe(true);
    const iterator = channel[Symbol.asyncIterator]();
    await iterator.next();
    expect([channel.full, drained]).toEqual([false, 0]);
    await iterator.next();
    expect(drained).toBe(1);
  });
});

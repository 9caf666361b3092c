import { describe, expect, it } from "vitest";
import { ChunkPacer } from "../../src/generation/chunk-pacer.ts";

describe("the chunks of a prompt", () => {
  it("are large while nobody decodes, and small beside decoding", () => {
    const pacer = new ChunkPacer();
    pacer.ran(256, 256);
    expect(pacer.next()).toEqual({ chunk: 256, interleaved: false });
    pacer.decoded(5);
    // 25 ms at a millisecond a token, in sixteens.
    expect(pacer.next()).toEqual({ chunk: 16, interleaved: true });
    expect(pacer.next()).toEqual({ chunk: 256, interleaved: false });
  });

  it("take no longer than a step where steps are slow", () => {
    const pacer = new ChunkPacer();
    pacer.ran(100, 100);
    for (let i = 0; i < 3; i++) pacer.decoded(100);
    expect(pacer.next()).toEqual({ chunk: 96, interleaved: true });
  });

  it("stay short enough for an abort on a slow model, and never vanish", () => {
    const pacer = new ChunkPacer();
    pacer.ran(64, 64 * 5);
    expect(pacer.next().chunk).toBe(96);
    const slow = new ChunkPacer();
    slow.ran(16, 16_000);
    expect(slow.next().chunk).toBe(16);
  });

  it("follow a faster run at once and a slower one slowly", () => {
    const pacer = new ChunkPacer();
    pacer.ran(1, 10_000);
    pacer.ran(100, 100);
    expect(pacer.next().chunk).toBe(256);
    pacer.ran(1, 2);
    expect(pacer.next().chunk).toBe(256);
  });
});

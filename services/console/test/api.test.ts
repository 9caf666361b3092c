import { afterEach, expect, test, vi } from "vitest";
import { ApiError, call, stream } from "../src/api.ts";

afterEach(() => vi.unstubAllGlobals());

function frame(flags: number, message: unknown): Uint8Array {
  const payload = new TextEncoder().encode(JSON.stringify(message));
  const bytes = new Uint8Array(5 + payload.length);
  bytes[0] = flags;
  new DataView(bytes.buffer).setUint32(1, payload.length);
  bytes.set(payload, 5);
  return bytes;
}

/** A fetch that answers with these frames, cut into pieces of `size` bytes. */
function answerWith(frames: readonly Uint8Array[], size: number) {
  const bytes = frames.flatMap((one) => [...one]);
  const fetch = vi.fn<(url: string, init: RequestInit) => Promise<Response>>(async () => {
    const body = new ReadableStream<Uint8Array>({
      start(controller) {
        for (let at = 0; at < bytes.length; at += size) controller.enqueue(new Uint8Array(bytes.slice(at, at + size)));
        controller.close();
      },
    });
    return new Response(body);
  });
  vi.stubGlobal("fetch", fetch);
  return fetch;
}

async function all(messages: AsyncIterable<unknown>): Promise<unknown[]> {
  const got: unknown[] = [];
  for await (const message of messages) got.push(message);
  return got;
}

test("a stream is read whole wherever the network cuts it", async () => {
  const frames = [frame(0, { a: 1 }), frame(0, { text: "⏎é" }), frame(2, {})];
  for (const size of [1, 3, 7, 1000]) {
    answerWith(frames, size);
    expect(await all(stream("steering", "Steer", {}))).toEqual([{ a: 1 }, { text: "⏎é" }]);
  }
});

test("the request of a stream is one prefixed message", async () => {
  const fetch = answerWith([frame(2, {})], 100);
  await all(stream("steering", "Steer", { a: 1 }));
  const [url, init] = fetch.mock.calls[0] ?? [];
  expect(url).toBe("/mistral_sae.steering.v1.SteeringService/Steer");
  expect(new Uint8Array(init?.body as ArrayBuffer)).toEqual(frame(0, { a: 1 }));
});

test("an error at the end of a stream is thrown with its code", async () => {
  answerWith([frame(0, {}), frame(2, { error: { code: "not_found", message: "no such feature" } })], 9);
  await expect(all(stream("steering", "Steer", {}))).rejects.toEqual(new ApiError("not_found", "no such feature"));
});

test("a stream that breaks off is an error, never a short result", async () => {
  answerWith([frame(0, { a: 1 })], 4);
  await expect(all(stream("steering", "Steer", {}))).rejects.toThrow("the stream broke off");
});

test("leaving the loop ends the request", async () => {
  const fetch = answerWith([frame(0, { a: 1 }), frame(0, { a: 2 }), frame(2, {})], 5);
  for await (const _ of stream("steering", "Steer", {})) break;
  expect(fetch.mock.calls[0]?.[1].signal?.aborted).toBe(true);
});

test("a refusal carries the server's words, and a body that is no JSON the status", async () => {
  vi.stubGlobal("fetch", async () => Response.json({ code: "invalid_argument", message: "got 9, wanted 0 to 3" }, { status: 400 }));
  await expect(call("inference", "GetModel", {})).rejects.toEqual(new ApiError("invalid_argument", "got 9, wanted 0 to 3"));
  vi.stubGlobal("fetch", async () => new Response("<html>", { status: 502, statusText: "Bad Gateway" }));
  await expect(call("inference", "GetModel", {})).rejects.toEqual(new ApiError("502", "Bad Gateway"));
});

import { Code, RpcError, unavailable } from "@mistral-sae/rpc";
import { describe, expect, it } from "vitest";
import { isPassing, patiently } from "../../src/peer/patience.ts";

const never = new AbortController().signal;

describe("patiently", () => {
  it("repeats while the service is away and tells of it once", async () => {
    let calls = 0;
    const told: string[] = [];
    const result = await patiently({ giveUpAfterMs: 10_000, signal: never, onAway: (error) => told.push(error.message) }, async () => {
      calls += 1;
      return calls < 3 ? await Promise.reject(unavailable("BACKEND_DOWN", "gone", 1)) : "there";
    });
    expect([result, calls, told]).toEqual(["there", 3, ["gone"]]);
  });

  it("gives up when patience ends", async () => {
    await expect(patiently({ giveUpAfterMs: 0, signal: never, onAway: () => undefined }, () => Promise.reject(unavailable("BACKEND_DOWN", "gone", 1)))).rejects.toMatchObject({ code: Code.Unavailable });
  });

  it("throws the service's own refusals at once", async () => {
    let calls = 0;
    const refuse = async (): Promise<never> => {
      calls += 1;
      throw await Promise.resolve(new RpcError(Code.InvalidArgument, "no", { reason: "INVALID_FIELD" }));
    };
    await expect(patiently({ giveUpAfterMs: 10_000, signal: never, onAway: () => undefined }, refuse)).rejects.toThrow("no");
    expect(calls).toBe(1);
  });

  it("tells broken connections from faults that the service explains", () => {
    expect(isPassing(new RpcError(Code.Internal, "stream closed"))).toBe(true);
    expect(isPassing(new RpcError(Code.Internal, "fault", { reason: "INTERNAL" }))).toBe(false);
    expect(isPassing(new RpcError(Code.ResourceExhausted, "full", { reason: "QUEUE_FULL", retryDelayMs: 10 }))).toBe(true);
    expect(isPassing(new RpcError(Code.ResourceExhausted, "disk", { reason: "DISK_FULL" }))).toBe(false);
  });
});

import { Code, type RpcError } from "@mistral-sae/rpc";
import { describe, expect, it } from "vitest";
import { Admission } from "../../src/generation/admission.ts";

const one = (tenant: string, tokens = 10) => ({ tenant, rows: 1, tokens });
const nobody = () => false;

function refusal(work: () => unknown): RpcError {
  try {
    work();
  } catch (error) {
    return error as RpcError;
  }
  throw new Error("nothing was refused");
}

describe("admission", () => {
  it("refuses beyond the requests that may wait, and takes the next when one has left", () => {
    const admission = new Admission({ maxQueued: 2, maxQueuedTokens: 1000 });
    const places = [admission.enter(one("a"), 1, nobody), admission.enter(one("a"), 1, nobody), admission.enter(one("a"), 1, nobody)];
    expect(refusal(() => admission.enter(one("a"), 1, nobody))).toMatchObject({ code: Code.ResourceExhausted, reason: "CONCURRENCY_LIMIT", retryDelayMs: 1000 });
    places[0]?.leave();
    places[0]?.leave();
    expect([admission.requests, admission.tokens]).toEqual([2, 20]);
    admission.enter(one("a"), 1, nobody);
  });

  it("refuses beyond the tokens that may wait, though never the only one", () => {
    const admission = new Admission({ maxQueued: 10, maxQueuedTokens: 100 });
    const large = admission.enter(one("a", 500), 0, nobody);
    expect(refusal(() => admission.enter(one("a", 1), 0, nobody))).toMatchObject({ reason: "TOKEN_BUDGET", message: "about 1 tokens are asked for and 500 wait already, 100 may; try again later" });
    large.leave();
    admission.enter(one("a", 60), 0, nobody);
    admission.enter(one("a", 40), 0, nobody);
  });

  it("makes room for a tenant at the cost of the one with the most, until they have as many", () => {
    const admission = new Admission({ maxQueued: 4, maxQueuedTokens: 1000 });
    const waiting = Array.from({ length: 4 }, () => admission.enter(one("a"), 0, nobody));
    const displace = (least: number): boolean => {
      if (waiting.length <= least) return false;
      waiting.pop()?.leave();
      return true;
    };
    admission.enter(one("b"), 0, displace);
    admission.enter(one("b"), 0, displace);
    expect(waiting).toHaveLength(2);
    expect(refusal(() => admission.enter(one("b"), 0, displace)).reason).toBe("CONCURRENCY_LIMIT");
    expect(refusal(() => admission.enter(one("a"), 0, displace)).reason).toBe("CONCURRENCY_LIMIT");
    admission.enter(one("c"), 0, displace);
    expect(waiting).toHaveLength(1);
  });
});

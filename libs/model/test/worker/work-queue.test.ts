import { describe, expect, it } from "vitest";
import type { CommandName } from "../../src/worker/protocol.ts";
import { WorkQueue } from "../../src/worker/work-queue.ts";

function order(names: readonly CommandName[]): string[] {
  const queue = new WorkQueue();
  for (const [id, name] of names.entries()) queue.push({ id, name, args: undefined });
  return names.map(() => queue.take()!.name);
}

describe("WorkQueue", () => {
  it("takes decoding first, then prompts, then the rest", () => {
    expect(order(["forward", "prefillStart", "decode"])).toEqual(["decode", "prefillStart", "forward"]);
  });

  it("lets one piece of other work between two decoding steps that both wait", () => {
    expect(order(["forward", "forward", "prefillStart", "decode", "decode", "decode"])).toEqual(["decode", "prefillStart", "decode", "forward", "decode", "forward"]);
  });

  it("lets prompts and the rest take turns between steps, and prompts go first where nothing decodes", () => {
    expect(order(["forward", "forward", "prefillStep", "prefillStep", "decode", "decode", "decode", "decode"])).toEqual(["decode", "prefillStep", "decode", "forward", "decode", "prefillStep", "decode", "forward"]);
    expect(order(["forward", "prefillStep", "prefillStep"])).toEqual(["prefillStep", "prefillStep", "forward"]);
  });

  it("keeps what is asked of slots in its order among the steps", () => {
    expect(order(["decode", "proofs", "free", "decode", "forward"])).toEqual(["decode", "proofs", "free", "forward", "decode"]);
  });
});

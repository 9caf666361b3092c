import { describe, expect, it } from "vitest";
import { FairQueue } from "../../src/generation/fair-queue.ts";

/** Takes everything, charging each item what it costs, and says in which order the items came. */
function drain(queue: FairQueue<string>, cost: (item: string) => number = () => 10): string[] {
  const order: string[] = [];
  for (let item = queue.shift(); item !== undefined; item = queue.shift()) {
    order.push(item);
    queue.charge(item[0] ?? "", cost(item));
  }
  return order;
}

describe("tenants that wait", () => {
  it("take turns, each in its own order", () => {
    const queue = new FairQueue<string>();
    for (const item of ["a1", "a2", "a3", "b1", "b2", "c1"]) queue.push(item[0] ?? "", item);
    expect(queue.peek()).toBe("a1");
    expect(drain(queue)).toEqual(["a1", "b1", "c1", "a2", "b2", "a3"]);
    expect(queue.size).toBe(0);
  });

  it("have their turn after one item of a tenant that has a hundred", () => {
    const queue = new FairQueue<string>();
    for (let i = 0; i < 100; i++) queue.push("a", `a${i}`);
    expect(queue.shift()).toBe("a0");
    queue.charge("a", 1000);
    queue.push("b", "b0");
    expect(queue.shift()).toBe("b0");
  });

  it("are served by what their items cost, not by their number", () => {
    const queue = new FairQueue<string>();
    for (let i = 0; i < 8; i++) queue.push("b", `b${i}`);
    for (let i = 0; i < 2; i++) queue.push("a", `a${i}`);
    expect(drain(queue, (item) => (item.startsWith("a") ? 40 : 10)).join()).toBe("b0,a0,b1,b2,b3,a1,b4,b5,b6,b7");
  });

  it("save up nothing while they are away", () => {
    const queue = new FairQueue<string>();
    queue.push("b", "b0");
    expect(drain(queue)).toEqual(["b0"]);
    for (let i = 0; i < 10; i++) queue.push("a", `a${i}`);
    for (let i = 0; i < 5; i++) {
      queue.shift();
      queue.charge("a", 100);
    }
    for (let i = 1; i < 4; i++) queue.push("b", `b${i}`);
    expect(drain(queue, () => 100).slice(0, 4)).toEqual(["b1", "a5", "b2", "a6"]);
  });

  it("lose an item that leaves, and the newest one where room has to be made", () => {
    const queue = new FairQueue<string>();
    for (const item of ["a1", "a2", "a3", "b1"]) queue.push(item[0] ?? "", item);
    expect(queue.remove("a", "a2")).toBe(true);
    expect(queue.remove("a", "a2")).toBe(false);
    expect(queue.displace(2)).toBeUndefined();
    expect(queue.displace(1)).toBe("a3");
    expect([queue.size, queue.waiting("a"), queue.waiting("c")]).toEqual([2, 1, 0]);
    expect(queue.clear()).toEqual(["a1", "b1"]);
  });

  it("are forgotten when there are very many", () => {
    const queue = new FairQueue<string>();
    for (let i = 0; i < 5000; i++) {
      queue.push(`t${i}`, "x");
      queue.shift();
      queue.charge(`t${i}`, 5);
    }
    queue.push("a", "a1");
    expect(queue.shift()).toBe("a1");
  });
});

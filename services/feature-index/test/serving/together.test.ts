import { describe, expect, it } from "vitest";
import { Together } from "../../src/serving/together.ts";

/** Askings that end when they are told to. */
function asked() {
  const askings: { readonly items: readonly number[]; readonly end: (failure?: Error) => void }[] = [];
  const ask = (items: readonly number[]) =>
    new Promise<readonly string[]>((resolve, reject) => {
      askings.push({ items, end: (failure) => (failure === undefined ? resolve(items.map((item) => `a${item}`)) : reject(failure)) });
    });
  return { askings, ask };
}

describe("requests that are put together", () => {
  it("ask at once while nothing is under way, and together for what comes meanwhile", async () => {
    const { askings, ask } = asked();
    const together = new Together({ inFlight: 1, most: 4, ask });
    const answers = [together.get([1]), together.get([2, 3]), together.get([4]), together.get([5, 6])];
    expect(askings.map(({ items }) => items)).toEqual([[1]]);
    askings[0]?.end();
    expect(await answers[0]).toEqual(["a1"]);
    expect(askings.map(({ items }) => items)).toEqual([[1], [2, 3, 4]]);
    askings[1]?.end();
    expect(await Promise.all([answers[1], answers[2]])).toEqual([["a2", "a3"], ["a4"]]);
    expect(askings[2]?.items).toEqual([5, 6]);
    askings[2]?.end();
    expect(await answers[3]).toEqual(["a5", "a6"]);
  });

  it("take a request alone that is larger than an asking", async () => {
    const { askings, ask } = asked();
    const together = new Together({ inFlight: 2, most: 2, ask });
    const answers = [together.get([1, 2, 3]), together.get([4]), together.get([5])];
    expect(askings.map(({ items }) => items)).toEqual([[1, 2, 3], [4]]);
    askings[1]?.end();
    expect(await answers[1]).toEqual(["a4"]);
    expect(askings[2]?.items).toEqual([5]);
    for (const { end } of askings) end();
    expect((await Promise.all(answers)).flat()).toEqual(["a1", "a2", "a3", "a4", "a5"]);
  });

  it("fail together, and go on afterwards", async () => {
    const { askings, ask } = asked();
    const together = new Together({ inFlight: 1, most: 9, ask });
    const first = together.get([0]);
    const both = Promise.allSettled([together.get([1]), together.get([2])]);
    askings[0]?.end();
    await first;
    askings[1]?.end(new Error("away"));
    expect((await both).map(({ status }) => status)).toEqual(["rejected", "rejected"]);
    const next = together.get([3]);
    askings[2]?.end();
    expect(await next).toEqual(["a3"]);
  });
});

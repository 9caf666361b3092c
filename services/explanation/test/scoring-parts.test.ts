import { ActivationGroup } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature";
import { describe, expect, test } from "vitest";
import { firingTokens, markedPassage, plainPassage } from "../src/explainers/passages.ts";
import { inParallel } from "../src/in-parallel.ts";
import { retryAfterMs } from "../src/llm/backoff.ts";
import { judgements, textField } from "../src/llm/reply.ts";
import { metricsOf } from "../src/scorers/metrics.ts";
import { SeededRandom } from "../src/seeded-random.ts";
import { fakeExample } from "./fake-feature-index.ts";

const judged = (text: string) =>
  text.split(" ").map((pair) => ({ activating: pair[0] === "1", prediction: pair[1] === "?" ? undefined : pair[1] === "1" }));

describe("metrics", () => {
  test("are those of the confusion matrix", () => {
    // TP 3, FN 1, FP 1, TN 1.
    const metrics = metricsOf(judged("11 11 11 10 01 00"));
    expect(metrics.recall).toBeCloseTo(3 / 4, 12);
    expect(metrics.precision).toBeCloseTo(3 / 4, 12);
    expect(metrics.balancedAccuracy).toBeCloseTo((3 / 4 + 1 / 2) / 2, 12);
    expect(metrics.f1).toBeCloseTo(3 / 4, 12);
  });

  test("are absent where undefined, and leave failed judgements out", () => {
    expect(metricsOf(judged("1? 0?"))).toEqual({});
    expect(metricsOf(judged("11 11 0?"))).toEqual({ precision: 1, recall: 1, f1: 1 });
    expect(metricsOf(judged("10 00"))).toEqual({ balancedAccuracy: 0.5, recall: 0 });
    expect(metricsOf(judged("10 01"))).toEqual({ balancedAccuracy: 0, precision: 0, recall: 0, f1: 0 });
  });
});

describe("replies", () => {
  test("are read from plain JSON, from a fence and from prose around it", () => {
    for (const reply of ['{"answers":[1,0]}', '```json\n{"answers": [true, false]}\n```', 'Sure: {"answers":[1,0]} as asked']) {
      expect(judgements(reply, "answers", 2)).toEqual([true, false]);
    }
    expect(textField('{"explanation":"  words \\n of the sea "}', "explanation")).toBe("words of the sea");
  });

  test("of another length, with other values or without JSON are no judgement", () => {
    for (const reply of ['{"answers":[1]}', '{"answers":[1,0,0]}', '{"answers":[1,2]}', '{"answers":"10"}', "1, 0", "", '{"explanation":""}']) {
      expect(judgements(reply, "answers", 2)).toBeUndefined();
      expect(textField(reply, "explanation")).toBeUndefined();
    }
  });
});

describe("passages", () => {
  test("mark firing tokens without their blank, leave special tokens out and stay on one line", () => {
    const example = fakeExample(0, 1, ActivationGroup.TOP);
    expect(markedPassage(example, 0.3)).toBe("word1 ⏎ the <<king>> and");
    expect(plainPassage(example)).toBe("word1 ⏎ the king and");
  });

  test("give firing and following tokens, most frequent first", () => {
    const examples = [0, 1, 2].map((i) => fakeExample(1, i, ActivationGroup.TOP));
    expect(firingTokens(examples, 0.3)).toEqual({ firing: ["sea"], following: ["."] });
  });
});

test("Retry-After is read as seconds and as a date", () => {
  expect(retryAfterMs("2")).toBe(2000);
  expect(retryAfterMs("Wed, 21 Oct 2015 07:28:10 GMT", Date.parse("2015-10-21T07:28:00Z"))).toBe(10_000);
  expect(retryAfterMs("soon")).toBeUndefined();
  expect(retryAfterMs(null)).toBeUndefined();
});

test("a failure stops further work but waits for what is under way", async () => {
  const done: number[] = [];
  const work = inParallel([0, 1, 2, 3, 4], 2, new AbortController().signal, async (i) => {
    if (i === 0) throw new Error("first");
    await new Promise((resolve) => setTimeout(resolve, 5));
    done.push(i);
  });
  await expect(work).rejects.toThrow("first");
  expect(done).toEqual([1]);
});

test("a seed gives one order, another seed another", () => {
  const order = (seed: bigint) => new SeededRandom(seed).shuffle([...Array(20).keys()]).join();
  expect(order(7n)).toBe(order(7n));
  expect(order(7n)).not.toBe(order(8n));
  expect(order(2n ** 63n + 1n)).not.toBe(order(1n));
});

import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { startProgress } from "../src/progress.ts";

beforeEach(() => vi.useFakeTimers({ toFake: ["performance"] }));
afterEach(() => vi.useRealTimers());

function stream(isTTY: boolean) {
  const written: string[] = [];
  return { written, isTTY, columns: 100, write: (text: string) => written.push(text) };
}

test("off a terminal a line is written every five seconds and at the end", () => {
  const out = stream(false);
  const progress = startProgress("index", out);
  for (let done = 0; done <= 1200; done += 100) {
    vi.advanceTimersByTime(1000);
    progress.update({ done, total: 1200, unit: "tokens", rate: 100, figures: { FVU: "0.1" } });
  }
  progress.finish();
  expect(out.written).toEqual([
    "index   33%  400/1,200 tokens  100/s  eta 8.0s  FVU 0.1\n",
    "index   75%  900/1,200 tokens  100/s  eta 3.0s  FVU 0.1\n",
    "index  100%  1,200/1,200 tokens  100/s  FVU 0.1  done in 13.0s\n",
  ]);
});

test("on a terminal the line is drawn again in place, ten times a second at most", () => {
  const out = stream(true);
  const progress = startProgress("train", out);
  for (let done = 0; done < 50; done++) {
    vi.advanceTimersByTime(10);
    progress.update({ done, total: 50, unit: "steps" });
  }
  progress.finish("stopped");
  expect(out.written).toHaveLength(7);
  expect(out.written.every((text) => text === "\n" || text.startsWith("\r\u001B[2K"))).toBe(true);
  expect(out.written.at(-2)).toContain("stopped in 0.5s");
});

test("work that is done without being counted to the end shows no count", () => {
  const out = stream(false);
  const progress = startProgress("screen", out);
  progress.update({ done: 0, total: 60, unit: "features" });
  progress.finish();
  progress.finish();
  expect(out.written).toEqual(["screen  done in 0.0s\n"]);
});

test("a quiet progress writes nothing", () => {
  const out = stream(true);
  const progress = startProgress("x", out, true);
  progress.update({ done: 1, total: 2, unit: "" });
  progress.finish();
  expect(out.written).toEqual([]);
});

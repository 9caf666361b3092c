import { expect, test } from "vitest";
import { noProgress, ProgressTracker } from "../src/embedded/progress-tracker.ts";

function clock(): { now: () => number; pass: (ms: number) => void } {
  let ms = 1_000_000;
  return { now: () => ms, pass: (by) => (ms += by) };
}

test("the rate is that of the last ten seconds, and the time left follows from it", () => {
  const { now, pass } = clock();
  const tracker = new ProgressTracker(noProgress, now);
  for (let second = 0; second <= 30; second++) {
    // 10 units a second at first, then 100.
    tracker.report({ stage: "train", doneUnits: second <= 15 ? second * 10 : 150 + (second - 15) * 100, totalUnits: 2650, unit: "tokens" });
    pass(1000);
  }
  const message = tracker.message();
  expect(message.rate).toBeCloseTo(100, 6);
  expect(message.eta).toMatchObject({ seconds: 10n, nanos: 0 });
});

test("reports at every token keep few samples and the right rate", () => {
  const { now, pass } = clock();
  const tracker = new ProgressTracker(noProgress, now);
  for (let token = 0; token < 40_000; token++) {
    tracker.report({ stage: "write", doneUnits: token });
    pass(1);
  }
  expect(tracker.message().rate).toBeCloseTo(1000, 6);
});

test("each stage is timed, an unfinished one goes on after a restart without the time between", () => {
  const { now, pass } = clock();
  const tracker = new ProgressTracker(noProgress, now);
  tracker.report({ stage: "harvest", doneUnits: 0 });
  pass(2000);
  tracker.report({ stage: "train", doneUnits: 0 });
  pass(3000);
  const saved = JSON.parse(JSON.stringify(tracker.save()));
  pass(60_000);
  const restarted = new ProgressTracker(saved, now);
  pass(1000);
  restarted.report({ stage: "train", doneUnits: 5 });
  restarted.finish();
  expect(restarted.message().stageSeconds).toEqual({ harvest: 2, train: 4 });
});

test("a warning is kept once, and a flood of them is cut with a notice", () => {
  const tracker = new ProgressTracker(noProgress, Date.now);
  for (let i = 0; i < 300; i++) tracker.warn(`warning ${i % 150}`);
  expect(tracker.message().warnings).toHaveLength(101);
  expect(tracker.message().warnings?.at(-1)).toMatch(/more warnings/);
});

import { describe, expect, it } from "vitest";
import { pipeline } from "../../src/client/pipeline.ts";
import { collect } from "../support/compare.ts";

const jobs = (n: number, run: (i: number, signal: AbortSignal) => Promise<number>): ((signal: AbortSignal) => Promise<number>)[] => Array.from({ length: n }, (_, i) => async (signal: AbortSignal) => await run(i, signal));

describe("pipeline", () => {
  it("yields results in order and never runs more than two ahead", async () => {
    let running = 0;
    let most = 0;
    const results = await collect(
      pipeline(
        jobs(20, async (i) => {
          most = Math.max(most, ++running);
          await new Promise<void>((resolve) => {
            setImmediate(resolve);
          });
          running--;
          return i;
        }),
        undefined,
      ),
    );
    expect(results).toEqual([...Array(20).keys()]);
    expect(most).toBe(2);
  });

  it("ends with the first error and aborts what waits", async () => {
    let aborted = 0;
    const run = pipeline(
      jobs(5, async (i, signal) => {
        signal.addEventListener("abort", () => {
          aborted++;
        });
        if (i === 1) throw new Error("second failed");
        return await Promise.resolve(i);
      }),
      undefined,
    );
    await expect(collect(run)).rejects.toThrow("second failed");
    expect(aborted).toBeGreaterThan(0);
  });

  it("starts nothing more when the consumer stops", async () => {
    const started: number[] = [];
    for await (const result of pipeline(jobs(10, async (i) => (started.push(i), await Promise.resolve(i))), undefined)) if (result === 2) break;
    expect(started).toEqual([0, 1, 2, 3, 4]);
  });
});

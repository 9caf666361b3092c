import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { ScheduleSchema } from "@mistral-sae/contracts/mistral_sae/common/v1/intervention";
import { describe, expect, it } from "vitest";
import { scheduleFactors } from "../../src/interventions/schedule.ts";

const factors = (schedule: NonNullable<MessageInitShape<typeof ScheduleSchema>["schedule"]>, steps = 5) =>
  Array.from(scheduleFactors("schedule", create(ScheduleSchema, { schedule }), steps) ?? [], (factor) => Number(factor.toFixed(5)));
const half = Number((Math.SQRT1_2 / 2).toFixed(5));
const root = Number(Math.SQRT1_2.toFixed(5));
const cosine = [1, 0.85355, 0.5, 0.14645, 0];

describe("a schedule", () => {
  it("moves as its formula says", () => {
    expect(factors({ case: "constant", value: 0.5 })).toEqual([0.5, 0.5, 0.5, 0.5, 0.5]);
    expect(factors({ case: "linear", value: { start: 0, end: 1, steps: 2 } })).toEqual([0, 0.5, 1, 1, 1]);
    expect(factors({ case: "cosine", value: { start: 1, end: 0, steps: 4 } })).toEqual(cosine);
    expect(factors({ case: "decay", value: { halfLife: 2 } })).toEqual([1, root, 0.5, half, 0.25]);
    expect(factors({ case: "values", value: { factors: [3, 2] } })).toEqual([3, 2, 2, 2, 2]);
  });

  it("has g(0) where nothing is generated, and none when unset", () => {
    expect(factors({ case: "linear", value: { start: 2, end: 0, steps: 4 } }, 0)).toEqual([2]);
    expect(scheduleFactors("schedule", undefined, 5)).toBeUndefined();
  });

  it("refuses ramps of no length, half-lives of 0, empty lists and factors that are no number", () => {
    expect(() => factors({ case: "linear", value: { start: 0, end: 1, steps: 0 } })).toThrow("schedule.linear.steps: got 0, wanted at least 1");
    expect(() => factors({ case: "decay", value: { halfLife: 0 } })).toThrow("schedule.decay.half_life: got 0");
    expect(() => factors({ case: "values", value: { factors: [] } })).toThrow("schedule.values.factors: got no factor");
    expect(() => factors({ case: "values", value: { factors: [1, Number.NaN] } })).toThrow("got the factor NaN at step 1");
  });
});

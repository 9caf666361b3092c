import { describe, expect, it } from "vitest";
import { LossSums } from "../../src/evaluate/loss-sums.ts";

const values = (...numbers: number[]): Float32Array => Float32Array.from(numbers);

describe("LossSums", () => {
  it("leaves out steps that read or predict a special token", () => {
    const sums = new LossSums();
    const special = Uint8Array.from([1, 0, 0, 0, 1]);
    sums.add({ clean: values(-9, -1, -2, -9), sae: values(-9, -2, -3, -9), zero: values(-9, -5, -6, -9), klSae: values(9, 0.5, 0.5, 9), klZero: values(9, 4, 6, 9) }, special);
    expect(sums.figures()).toEqual({ ceClean: 1.5, ceSae: 2.5, ceZero: 5.5, ceRecovered: 0.75, klSae: 0.5, klZero: 5, klRecovered: 0.9 });
  });

  it("knows nothing where no step counts", () => {
    const sums = new LossSums();
    sums.add({ clean: values(-1), sae: values(-1), zero: values(-1), klSae: values(0), klZero: values(1) }, Uint8Array.from([1, 0]));
    expect(sums.figures()).toBeUndefined();
  });
});

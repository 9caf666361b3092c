import { InputError } from "@mistral-sae/tensor";
import { describe, expect, it } from "vitest";
import { divergence, logSumExp } from "../../src/sampling/distribution.ts";
import { expNonPositive } from "../../src/sampling/exp.ts";
import { greedy, type SamplingParams } from "../../src/sampling/params.ts";
import { uniform } from "../../src/sampling/philox.ts";
import { checkSampling, Sampler } from "../../src/sampling/sampler.ts";

const vocab = 300;
const row = Float32Array.from({ length: vocab }, (_, i) => 6 * uniform(5n, i));
const sampler = new Sampler(vocab);
const noHistory = { tokens: new Uint32Array(), promptLength: 0 };

/** How often each token is drawn in `n` steps. */
function draw(params: Partial<SamplingParams>, n = 20_000, logits = row): Map<number, number> {
  const counts = new Map<number, number>();
  for (let t = 0; t < n; t++) {
    const token = sampler.choose(logits, { ...greedy, temperature: 1, seed: 77n, ...params }, noHistory, t);
    counts.set(token, (counts.get(token) ?? 0) + 1);
  }
  return counts;
}

/** The distribution that the parameters stand for, written out plainly. */
function wanted({ temperature = 1, topK = 0, topP = 1, minP = 0 }: Partial<SamplingParams>): Map<number, number> {
  const scale = logSumExp(row.map((logit) => logit / temperature));
  let kept = [...row].map((logit, token) => ({ token, p: Math.exp(logit / temperature - scale) })).sort((a, b) => b.p - a.p);
  if (topK > 0) kept = kept.slice(0, topK);
  const total = kept.reduce((sum, { p }) => sum + p, 0);
  let mass = 0;
  kept = kept.filter(({ p }) => {
    const inside = mass < topP * total;
    mass += p;
    return inside;
  });
  kept = kept.filter(({ p }) => p >= minP * kept[0]!.p);
  const left = kept.reduce((sum, { p }) => sum + p, 0);
  return new Map(kept.map(({ token, p }) => [token, p / left]));
}

describe("Sampler", () => {
  it.each<Partial<SamplingParams>>([
    {},
    { temperature: 0.5 },
    { temperature: 2 },
    { topK: 7 },
    { topP: 0.6 },
    { topP: 0.9999 },
    { minP: 0.2 },
    { temperature: 0.7, topK: 40, topP: 0.8, minP: 0.1 },
    { topP: 1e-9 },
    { topK: vocab + 5, topP: 0.5 },
  ])("draws from the distribution of %o", (params) => {
    const n = 20_000;
    const counts = draw(params, n);
    const distribution = wanted(params);
    for (const token of counts.keys()) expect(distribution.has(token)).toBe(true);
    let chiSquare = 0;
    let cells = 0;
    for (const [token, p] of distribution) {
      if (n * p < 5) continue;
      chiSquare += ((counts.get(token) ?? 0) - n * p) ** 2 / (n * p);
      cells++;
    }
    // Mean of the chi-square distribution plus five deviations.
    expect(chiSquare).toBeLessThan(cells + 5 * Math.sqrt(2 * cells) + 5);
  });

  it("takes the likeliest token at temperature 0, the first of equals", () => {
    expect(sampler.choose(Float32Array.from({ length: vocab }, (_, i) => (i === 9 || i === 4 ? 3 : 0)), greedy, noHistory, 0)).toBe(4);
  });

  it("gives the same token for the same seed and step, and others for other seeds", () => {
    const params = { ...greedy, temperature: 1, seed: 5n };
    const texts = [5n, 5n, 6n].map((seed) => Array.from({ length: 20 }, (_, t) => sampler.choose(row, { ...params, seed }, noHistory, t)));
    expect(texts[0]).toEqual(texts[1]);
    expect(texts[0]).not.toEqual(texts[2]);
  });

  it("penalises what was said, and leaves the logits as they are", () => {
    const logits = Float32Array.from({ length: vocab }, (_, i) => (i < 3 ? 5 - i : -10));
    const before = logits.slice();
    const history = { tokens: Uint32Array.of(0, 1, 1), promptLength: 1 };
    const choose = (params: Partial<SamplingParams>): number => sampler.choose(logits, { ...greedy, ...params }, history, 0);
    // 5, 4, 3 for tokens 0 (prompt), 1 (generated twice), 2 (never).
    expect(choose({ repetitionPenalty: 1.1 })).toBe(0);
    expect(choose({ repetitionPenalty: 2 })).toBe(2);
    expect(choose({ presencePenalty: 9 })).toBe(0);
    const generated = { tokens: Uint32Array.of(7, 0, 1, 1), promptLength: 1 };
    expect(sampler.choose(logits, { ...greedy, frequencyPenalty: 0.9 }, generated, 0)).toBe(0);
    expect(sampler.choose(logits, { ...greedy, presencePenalty: 2.5 }, generated, 0)).toBe(2);
    expect(sampler.choose(Float32Array.from({ length: vocab }, (_, i) => (i === 0 ? -1 : -2)), { ...greedy, repetitionPenalty: 3 }, history, 0)).toBe(2);
    expect(logits).toEqual(before);
  });

  it("adds a bias to a token's logit, also for greedy choices", () => {
    const { likeliest, other } = { likeliest: row.indexOf(Math.max(...row)), other: 11 };
    expect(sampler.choose(row, greedy, noHistory, 0)).toBe(likeliest);
    expect(sampler.choose(row, { ...greedy, logitBias: [[other, 100]] }, noHistory, 0)).toBe(other);
    expect(draw({ logitBias: [[likeliest, -100]] }, 2000).has(likeliest)).toBe(false);
    expect(row.indexOf(Math.max(...row))).toBe(likeliest);
  });

  it("says so when logits are not finite", () => {
    expect(() => sampler.choose(new Float32Array(vocab).fill(Number.NaN), greedy, noHistory, 0)).toThrow("not finite");
  });
});

describe("expNonPositive", () => {
  it("is e^x", () => {
    let worst = 0;
    for (let i = 0; i < 100_000; i++) {
      const x = -700 * uniform(1n, i) ** 3;
      worst = Math.max(worst, Math.abs(expNonPositive(x) / Math.exp(x) - 1));
    }
    expect(worst).toBeLessThan(4e-11);
    expect([expNonPositive(0), expNonPositive(-1000), expNonPositive(-Infinity), expNonPositive(Number.NaN)]).toEqual([1, 0, 0, 0]);
  });
});

describe("divergence", () => {
  it("is 0 for shifted logits and the sum's value for others", () => {
    expect(divergence(row, row.map((x) => x + 3))).toBeCloseTo(0, 6);
    expect(divergence(Float32Array.of(0, Math.log(3)), Float32Array.of(0, 0))).toBeCloseTo(0.25 * Math.log(0.5) + 0.75 * Math.log(1.5), 6);
  });
});

describe("checkSampling", () => {
  it.each<[Partial<SamplingParams>, string]>([
    [{ temperature: -1 }, "temperature"],
    [{ topP: 0 }, "topP"],
    [{ topK: 1.5 }, "topK"],
    [{ minP: 2 }, "minP"],
    [{ repetitionPenalty: 0 }, "repetitionPenalty"],
    [{ presencePenalty: Number.NaN }, "presencePenalty"],
    [{ seed: 2n ** 64n }, "seed"],
    [{ nLogprobs: 21 }, "nLogprobs"],
    [{ logitBias: [[1, Number.NaN]] }, "logitBias"],
  ])("refuses %o", (params, field) => {
    expect(() => {
      checkSampling({ ...greedy, ...params });
    }).toThrow(expect.objectContaining({ field }) as InputError);
  });
});

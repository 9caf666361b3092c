import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openEngine, type Edit, type Engine } from "../../src/index.ts";
import { uniform } from "../../src/sampling/philox.ts";
import { collect, relativeDifference, residuals, tokensOf } from "../support/compare.ts";
import { ReferenceModel } from "../support/reference-model.ts";
import { ReferenceSae, tinySae } from "../support/tiny-sae.ts";
import { tinyConfig, writeTinyModel } from "../support/tiny-model.ts";

const d = tinyConfig.hidden_size;
const hook = "blocks.1.hook_resid_post";
const point = 2;
const base = { id: "e", hook } as const;
const v = Float32Array.from({ length: d }, (_, i) => 2 * uniform(3n, i) - 0.7);
const w = Float32Array.from({ length: d }, (_, i) => uniform(4n, i) - 0.3);
const dot = (a: ArrayLike<number>, b: ArrayLike<number>): number => Array.from(a).reduce((sum, x, i) => sum + x * b[i]!, 0);
const norm = (a: ArrayLike<number>): number => Math.sqrt(dot(a, a));
const plus = (h: readonly number[], c: number, by: ArrayLike<number>): number[] => h.map((x, i) => x + c * by[i]!);
const u = [...v].map((x) => x / norm(v));
const uw = [...w].map((x) => x / norm(w));

/** Each vector method with its formula, written out again. */
const vectorCases: readonly [string, Edit, (h: readonly number[]) => readonly number[]][] = [
  ["add", { ...base, method: "add", direction: v, strength: 1.5 }, (h) => plus(h, 1.5, v)],
  ["add of a unit vector", { ...base, method: "add", direction: v, strength: -2, normalize: true }, (h) => plus(h, -2, u)],
  ["add of a fraction of the row's norm", { ...base, method: "add", direction: v, strength: 0.4, unit: "resid_norm_fraction" }, (h) => plus(h, 0.4 * norm(h), u)],
  ["norm_scaled_add below its bound", { ...base, method: "norm_scaled_add", direction: v, strength: 0.1 }, (h) => plus(h, 0.1 * norm(h), v)],
  ["norm_scaled_add above its bound", { ...base, method: "norm_scaled_add", direction: v, strength: 5, maxFraction: 0.25 }, (h) => plus(h, 0.25 * norm(h), u)],
  ["orthogonal", { ...base, method: "orthogonal", direction: v, strength: -1 }, (h) => plus(h, -2 * dot(h, u), u)],
  ["ablate", { ...base, method: "ablate", direction: v }, (h) => plus(h, -dot(h, u), u)],
  ["projection_cap", { ...base, method: "projection_cap", direction: v, min: -0.5, max: 0.5 }, (h) => plus(h, Math.min(Math.max(dot(h, u), -0.5), 0.5) - dot(h, u), u)],
  ["swap", { ...base, method: "swap", direction: v, swapTarget: w }, (h) => plus(plus(h, dot(h, u), uw), -dot(h, u), u)],
  ["replace", { ...base, method: "replace", direction: v, strength: 3 }, () => [...v].map((x) => 3 * x)],
  ["replace by zero", { ...base, method: "replace", direction: new Float32Array(d) }, (h) => h.map(() => 0)],
];

const saes = {
  topk: tinySae(),
  "topk with layer norm": tinySae({ normalizeActivations: "layer_norm" }),
  "topk rescaled by decoder norms": tinySae({ rescaleActsByDecoderNorm: true, normalizeActivations: "constant_norm_rescale" }),
  standard: tinySae({ architecture: "standard", k: undefined, applyBDecToInput: false }),
  jumprelu: tinySae({ architecture: "jumprelu", k: undefined, threshold: new Float32Array(40).fill(0.8) }),
};

describe("edits", () => {
  let model: Awaited<ReturnType<typeof writeTinyModel>>;
  let reference: ReferenceModel;
  let engine: Engine;
  const tokens = tokensOf(14, tinyConfig.vocab_size, 11);
  beforeAll(async () => {
    model = await writeTinyModel();
    reference = await ReferenceModel.open(model.modelDir);
    engine = await openEngine({ modelDir: model.modelDir, threads: 2 });
    for (const [name, sae] of Object.entries(saes)) await engine.loadSae(name, sae);
  });
  afterAll(async () => {
    await engine.close();
    await model[Symbol.asyncDispose]();
  });

  /**
   * Largest difference between the engine under edits and the reference model with `change` made to every row at the
   * hook: in the logits, in the residual after the edits, and (to the unedited one) before them.
   */
  async function difference(edits: readonly Edit[], change: (h: readonly number[]) => readonly number[]): Promise<number> {
    const wanted = reference.forward([...tokens], (at, rows) => {
      if (at === point) for (const [position, row] of rows.entries()) rows[position] = [...change(row)];
    });
    const { logits } = await engine.logits({ tokens, edits }, { positions: "all" });
    const [found] = await residuals(engine, [{ tokens, edits }], { taps: [{ hook, afterEdits: true }, { hook }] });
    const [plain] = await residuals(engine, [{ tokens }], { taps: [{ hook }] });
    return Math.max(
      relativeDifference(logits, wanted.logits.flat()),
      relativeDifference(found![0]!, wanted.residuals[point]!.flat()),
      relativeDifference(found![1]!, plain![0]!),
    );
  }

  it.each(vectorCases)("%s is its formula, in the residual and in the logits behind it", async (_, edit, formula) => {
    expect(await difference([edit], formula)).toBeLessThan(1e-5);
  });

  it.each(vectorCases)("%s leaves rows that are not selected alone, bit for bit", async (_, edit) => {
    const prompt = Uint8Array.from(tokens, (_token, i) => (i >= 9 ? 1 : 0));
    const [found] = await residuals(engine, [{ tokens, edits: [{ ...edit, prompt }] }], { taps: [{ hook }, { hook, afterEdits: true }, { hook: "blocks.2.hook_resid_post" }] });
    const [plain] = await residuals(engine, [{ tokens }], { taps: [{ hook: "blocks.2.hook_resid_post" }] });
    expect(found![1]!.subarray(0, 9 * d)).toEqual(found![0]!.subarray(0, 9 * d));
    expect(found![2]!.subarray(0, 9 * d)).toEqual(plain![0]!.subarray(0, 9 * d));
  });

  it.each([
    ["add", { ...base, method: "add", direction: v, strength: 0 }],
    ["orthogonal", { ...base, method: "orthogonal", direction: v, strength: 1 }],
    ["projection_cap", { ...base, method: "projection_cap", direction: v, min: -1e9, max: 1e9 }],
    ["swap", { ...base, method: "swap", direction: v, swapTarget: v }],
    ["feature_scale", { ...base, method: "feature_scale", sae: "topk", feature: 3, strength: 1 }],
    ["feature_add", { ...base, method: "feature_add", sae: "topk with layer norm", feature: 3, strength: 0 }],
    ["feature_clamp", { ...base, method: "feature_clamp", sae: "jumprelu", feature: 3, max: 1e9 }],
  ] satisfies [string, Edit][])("%s at its neutral value changes no bit, and says so", async (_, edit) => {
    const [batch] = await collect(engine.forward([{ tokens, edits: [edit] }], { taps: [{ hook }, { hook, afterEdits: true }] }));
    expect(batch!.residuals[1]).toEqual(batch!.residuals[0]);
    expect(batch!.proofs[0]).toEqual([{ id: "e", promptRows: 14, steps: 0, offPromptRows: 0, offSteps: 0, changedRows: 0, meanDeltaNorm: 0 }]);
  });

  describe.each(Object.entries(saes))("with a %s SAE", (sae, weights) => {
    const oracle = new ReferenceSae(weights);
    /** h + sd Σ (a' − a) D_f */
    const moved = (h: readonly number[], changes: ReadonlyMap<number, (a: number) => number>): number[] => {
      const a = oracle.encode(h);
      let out = [...h];
      for (const [feature, change] of changes) out = plus(out, oracle.statistics(h).sd * (change(a[feature]!) - a[feature]!), oracle.direction(feature));
      return out;
    };
    const edited = (a: readonly number[], feature: number, change: (x: number) => number): number[] => a.map((x, f) => (f === feature ? change(x) : x));

    it("sets, adds to, scales and clamps a feature, keeping the error", async () => {
      expect(await difference([{ ...base, method: "feature_set", sae, feature: 7, strength: 2.5 }], (h) => moved(h, new Map([[7, () => 2.5]])))).toBeLessThan(1e-5);
      expect(await difference([{ ...base, method: "feature_add", sae, feature: 8, strength: -0.6 }], (h) => moved(h, new Map([[8, (a) => Math.max(0, a - 0.6)]])))).toBeLessThan(1e-5);
      expect(await difference([{ ...base, method: "feature_add", sae, feature: 8, strength: -0.6, allowNegative: true }], (h) => moved(h, new Map([[8, (a) => a - 0.6]])))).toBeLessThan(1e-5);
      expect(await difference([{ ...base, method: "feature_scale", sae, feature: 9, strength: 3 }], (h) => moved(h, new Map([[9, (a) => 3 * a]])))).toBeLessThan(1e-5);
      expect(await difference([{ ...base, method: "feature_clamp", sae, feature: 9, min: 0.2, max: 0.4 }], (h) => moved(h, new Map([[9, (a) => Math.min(Math.max(a, 0.2), 0.4)]])))).toBeLessThan(1e-5);
    });

    it("takes consecutive features of one SAE as one change of the row as it was found", async () => {
      const edits: Edit[] = [
        { ...base, id: "a", method: "feature_set", sae, feature: 1, strength: 4 },
        { ...base, id: "b", method: "feature_scale", sae, feature: 2, strength: 0 },
      ];
      expect(await difference(edits, (h) => moved(h, new Map<number, (a: number) => number>([[1, () => 4], [2, () => 0]])))).toBeLessThan(1e-5);
    });

    it("reconstructs the row, with a feature changed where one is", async () => {
      expect(await difference([{ ...base, method: "reconstruct", sae }], (h) => oracle.reconstruct(h, oracle.encode(h)))).toBeLessThan(1e-5);
      expect(await difference([{ ...base, method: "feature_set", sae, feature: 5, strength: 3, keepErrorTerm: false }], (h) => oracle.reconstruct(h, edited(oracle.encode(h), 5, () => 3)))).toBeLessThan(1e-5);
      expect(await difference(
        [
          { ...base, id: "r", method: "reconstruct", sae },
          { ...base, id: "s", method: "feature_set", sae, feature: 5, strength: 3 },
        ],
        (h) => oracle.reconstruct(h, edited(oracle.encode(h), 5, () => 3)),
      )).toBeLessThan(1e-5);
    });

    it("adds a feature's decoder row", async () => {
      expect(await difference([{ ...base, method: "add", direction: { sae, feature: 4 }, strength: 2 }], (h) => plus(h, 2, oracle.direction(4)))).toBeLessThan(1e-5);
    });
  });

  it("apply in the order of the list, each to what the one before it left", async () => {
    const edits: Edit[] = [
      { ...base, id: "1", method: "add", direction: v, strength: 2 },
      { ...base, id: "2", method: "ablate", direction: w },
      { ...base, id: "3", method: "feature_set", sae: "topk", feature: 3, strength: 1 },
    ];
    const oracle = new ReferenceSae(saes.topk);
    expect(await difference(edits, (h) => {
      const one = plus(h, 2, v);
      const two = plus(one, -dot(one, uw), uw);
      return plus(two, 1 - oracle.encode(two)[3]!, oracle.direction(3));
    })).toBeLessThan(1e-5);
  });

  it("at several hooks, the embedding and the end of the model included, all apply", async () => {
    const hooks = ["blocks.0.hook_resid_pre", "blocks.0.hook_resid_post", "blocks.2.hook_resid_post"];
    const edits = hooks.map((at, i): Edit => ({ id: `${i}`, hook: at, method: "add", direction: v, strength: i + 1 }));
    const wanted = reference.forward([...tokens], (at, rows) => {
      const strength = [1, 2, 0, 3][at] ?? 0;
      for (const [position, row] of rows.entries()) rows[position] = plus(row, strength, v);
    });
    const { logits, proofs } = await engine.logits({ tokens, edits }, { positions: "all" });
    expect(relativeDifference(logits, wanted.logits.flat())).toBeLessThan(1e-5);
    expect(proofs.map((proof) => proof.promptRows)).toEqual([14, 14, 14]);
  });

  it("of one sequence leave the others of its batch alone", async () => {
    const edits: Edit[] = [{ ...base, method: "add", direction: v, strength: 5 }];
    const taps = [{ hook: "blocks.2.hook_resid_post" }];
    const [plain, steered] = await residuals(engine, [{ tokens }, { tokens, edits }], { taps });
    const [alone] = await residuals(engine, [{ tokens }], { taps });
    expect(relativeDifference(plain![0]!, alone![0]!)).toBeLessThan(1e-6);
    expect(relativeDifference(steered![0]!, alone![0]!)).toBeGreaterThan(0.1);
  });

  it("while generating apply to the tokens that their rule names, and their proof counts them", async () => {
    const prompt = tokens.slice(0, 6);
    const fed = [...tokens.subarray(6)];
    const rule = { include: { window: { start: 1, end: 5 }, tokenIds: [fed[6]!] }, exclude: { tokenIds: [fed[2]!] } };
    const edits: Edit[] = [{ ...base, method: "add", direction: v, strength: 1, schedule: Float32Array.of(1, 0.5, 0.25), prompt: Uint8Array.of(0, 0, 1, 0, 0, 1), generated: rule }];
    const chosen = new Map<number, number>([[2, 1], [5, 1]]);
    for (const [t, token] of fed.entries()) {
      const included = (t >= 1 && t < 5) || token === fed[6];
      if (included && token !== fed[2]) chosen.set(6 + t, [1, 0.5, 0.25][Math.min(t, 2)]!);
    }
    const wanted = reference.forward([...tokens], (at, rows) => {
      if (at === point) for (const [position, factor] of chosen) rows[position] = plus(rows[position]!, factor, v);
    });
    const { slots, edited } = await engine.prefill([{ tokens: prompt, edits }]);
    expect([...edited]).toEqual([1]);
    for (const [t, token] of fed.entries()) {
      const step = await engine.decode([{ slot: slots[0]!, token }], { withLogits: true });
      expect(relativeDifference(step.logits, wanted.logits[6 + t]!)).toBeLessThan(1e-5);
      expect(step.edited[0]).toBe(chosen.has(6 + t) ? 1 : 0);
    }
    const [proof] = await engine.proofs(slots[0]!);
    expect(proof).toMatchObject({ id: "e", promptRows: 2, steps: chosen.size - 2, changedRows: chosen.size });
    const total = [...chosen.values()].reduce((sum, factor) => sum + factor * norm(v), 0);
    expect(proof!.meanDeltaNorm).toBeCloseTo(total / chosen.size, 5);
    await engine.free(slots);
  });

  it("leave a baseline in the same batch as it is without them", async () => {
    const edits: Edit[] = [{ ...base, method: "feature_set", sae: "topk", feature: 3, strength: 4 }];
    const both = await engine.prefill([{ tokens }, { tokens, edits }]);
    const alone = await engine.prefill([{ tokens }]);
    for (let step = 0; step < 5; step++) {
      const joint = await engine.decode(both.slots.map((slot) => ({ slot, token: 7 + step })), { withLogits: true });
      const single = await engine.decode([{ slot: alone.slots[0]!, token: 7 + step }], { withLogits: true });
      expect(relativeDifference(joint.logits.subarray(0, 96), single.logits)).toBeLessThan(2e-6);
      expect(relativeDifference(joint.logits.subarray(96), single.logits)).toBeGreaterThan(1e-3);
    }
    await engine.free([...both.slots, ...alone.slots]);
  });

  it.each([
    ["an unknown hook", { ...base, hook: "blocks.1.hook_mlp_out", method: "ablate", direction: v }, "unknown residual hook (field edit e: hook; got blocks.1.hook_mlp_out, wanted blocks.L.hook_resid_pre, hook_resid_mid or hook_resid_post, L from 0 to 2)"],
    ["a layer that is not there", { ...base, hook: "blocks.3.hook_resid_pre", method: "ablate", direction: v }, "wanted 0 to 2"],
    ["a direction of another width", { ...base, method: "ablate", direction: v.subarray(1) }, "edit e: direction; got 31, wanted 32"],
    ["a direction of length 0", { ...base, method: "add", strength: 1, direction: new Float32Array(d) }, "got length 0"],
    ["a direction that is not finite", { ...base, method: "add", strength: 1, direction: new Float32Array(d).fill(Infinity) }, "not finite"],
    ["no strength", { ...base, method: "add", direction: v }, "edit e: strength; got nothing, wanted a finite number"],
    ["a strength where there is none", { ...base, method: "ablate", direction: v, strength: 1 }, "ablate has no strength"],
    ["no bound", { ...base, method: "projection_cap", direction: v }, "got min open, max open, wanted at least one bound"],
    ["bounds that cross", { ...base, method: "feature_clamp", sae: "topk", feature: 1, min: 2, max: 1 }, "min at most max"],
    ["a unit that the method lacks", { ...base, method: "orthogonal", direction: v, strength: 1, unit: "resid_norm_fraction" }, "got resid_norm_fraction, wanted raw"],
    ["no second direction", { ...base, method: "swap", direction: v }, "swapTarget"],
    ["a mask of another length", { ...base, method: "ablate", direction: v, prompt: new Uint8Array(3) }, "edit e: prompt; got 3 bytes, wanted 14 bytes"],
    ["an SAE that is not loaded", { ...base, method: "reconstruct", sae: "none" }, "there is no such SAE loaded (field sae; got none"],
    ["a feature out of range", { ...base, method: "feature_set", sae: "topk", feature: 40, strength: 1 }, "got 40, wanted 0 to 39"],
    ["a negative activation", { ...base, method: "feature_set", sae: "topk", feature: 1, strength: -1 }, "allowNegative"],
    ["an empty schedule", { ...base, method: "add", direction: v, strength: 1, schedule: new Float32Array() }, "a schedule holds finite factors"],
    ["a schedule without a strength", { ...base, method: "ablate", direction: v, schedule: Float32Array.of(1) }, "ablate has no strength to move"],
  ] satisfies [string, Edit, string][])("refuse %s", async (_, edit, message) => {
    await expect(engine.logits({ tokens, edits: [edit] })).rejects.toThrow(message);
  });

  it("refuse to set one feature twice at a row, and take it where rows or conditions differ", async () => {
    const set = { ...base, method: "feature_set", sae: "topk", feature: 1 } as const;
    const first = Uint8Array.from(tokens, (_, i) => (i < 7 ? 1 : 0));
    const rest = first.map((selected) => 1 - selected);
    const never = { generated: { include: {} } };
    const condition = { sae: "topk", hook, feature: 2, threshold: 0.5 };
    const both = (a: Partial<Edit>, b: Partial<Edit>): Promise<unknown> =>
      engine.logits({ tokens, edits: [{ ...set, strength: 1, ...a }, { ...set, id: "f", strength: 2, ...b }] as Edit[] });
    await expect(both({}, {})).rejects.toThrow("edit f: feature");
    await expect(both({ prompt: first }, { prompt: rest })).rejects.toThrow("edit e sets this feature too");
    await expect(both({ prompt: first, ...never }, { ...never })).rejects.toThrow("edit f: feature");
    await both({ prompt: first, ...never }, { prompt: rest });
    await both({ conditions: [{ ...condition, comparison: "greater" }] }, { conditions: [{ ...condition, comparison: "less_equal" }] });
    await expect(both({ conditions: [{ ...condition, comparison: "greater_equal" }] }, { conditions: [{ ...condition, comparison: "less_equal" }] })).rejects.toThrow("edit f: feature");
    const oracle = new ReferenceSae(saes.topk);
    const edits: Edit[] = [{ ...set, strength: 3, prompt: first, ...never }, { ...set, id: "f", strength: 5, prompt: rest }];
    const wanted = reference.forward([...tokens], (at, rows) => {
      if (at === point) for (const [position, row] of rows.entries()) rows[position] = plus(row, (position < 7 ? 3 : 5) - oracle.encode(row)[1]!, oracle.direction(1));
    });
    const { logits } = await engine.logits({ tokens, edits }, { positions: "all" });
    expect(relativeDifference(logits, wanted.logits.flat())).toBeLessThan(1e-5);
  });
});

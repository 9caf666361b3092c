import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openEngine, type Edit, type EditCondition, type Engine } from "../../src/index.ts";
import { uniform } from "../../src/sampling/philox.ts";
import { relativeDifference, tokensOf } from "../support/compare.ts";
import { ReferenceModel } from "../support/reference-model.ts";
import { ReferenceSae, tinySae } from "../support/tiny-sae.ts";
import { tinyConfig, writeTinyModel } from "../support/tiny-model.ts";

const d = tinyConfig.hidden_size;
const v = Float32Array.from({ length: d }, (_, i) => 2 * uniform(3n, i) - 0.7);
const saes = {
  topk: tinySae({ normalizeActivations: "layer_norm" }),
  standard: tinySae({ architecture: "standard", k: undefined }),
  jumprelu: tinySae({ architecture: "jumprelu", k: undefined, threshold: new Float32Array(40).fill(0.8) }),
};
const early = "blocks.0.hook_resid_post";
const late = "blocks.1.hook_resid_post";
const points: Readonly<Record<string, number>> = { [early]: 1, [late]: 2 };

const meets = { greater: (a: number, t: number) => a > t, greater_equal: (a: number, t: number) => a >= t, less: (a: number, t: number) => a < t, less_equal: (a: number, t: number) => a <= t };

describe("edits under conditions", () => {
  let model: Awaited<ReturnType<typeof writeTinyModel>>;
  let reference: ReferenceModel;
  let engine: Engine;
  const tokens = tokensOf(24, tinyConfig.vocab_size, 11);
  const prompt = tokens.slice(0, 14);
  const fed = tokens.slice(14);
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

  /** The feature whose activations over the tokens differ most, and a threshold between two of them, far from both. */
  function watch(sae: keyof typeof saes, hook: string): { feature: number; threshold: number } {
    const oracle = new ReferenceSae(saes[sae]);
    const codes = reference.forward([...tokens]).residuals[points[hook]!]!.map((row) => oracle.encode(row));
    let best = { feature: 0, threshold: 0, gap: 0 };
    for (let feature = 0; feature < 40; feature++) {
      const values = codes.map((code) => code[feature]!).sort((a, b) => a - b);
      for (let i = 6; i < 18; i++) {
        const gap = values[i + 1]! - values[i]!;
        if (values[i]! > 0 && gap > best.gap) best = { feature, threshold: values[i]! + gap / 2, gap };
      }
    }
    return best;
  }

  /** Logits of a model in which `v` is added at `late` where the conditions hold, and where that is. */
  function oracle(conditions: readonly EditCondition[]): { logits: number[][]; held: boolean[] } {
    const known = conditions.map(() => [] as number[]);
    let held: boolean[] = [];
    const { logits } = reference.forward([...tokens], (at, rows) => {
      for (const [i, { sae, hook, feature }] of conditions.entries()) {
        const read = new ReferenceSae(saes[sae as keyof typeof saes]);
        if (points[hook] === at) known[i] = rows.map((row) => read.encode(row)[feature]!);
      }
      if (at !== points[late]) return;
      held = rows.map((_, p) => conditions.every(({ comparison, threshold, lookback = 1 }, i) => meets[comparison](Math.max(...known[i]!.slice(Math.max(0, p + 1 - lookback), p + 1)), threshold)));
      for (const [p, holds] of held.entries()) if (holds) rows[p] = rows[p]!.map((x, i) => x + 1.5 * v[i]!);
    });
    return { logits, held };
  }

  const cases: [string, (w: (sae: keyof typeof saes, hook: string) => { feature: number; threshold: number }) => EditCondition[]][] = (["topk", "standard", "jumprelu"] as const).flatMap((sae) => [
    [`${sae}, above a threshold at its own hook`, (w) => [{ sae, hook: late, ...w(sae, late), comparison: "greater" }]],
    [`${sae}, below a threshold at an earlier hook`, (w) => [{ sae, hook: early, ...w(sae, early), comparison: "less" }]],
    [`${sae}, where it is silent`, (w) => [{ sae, hook: early, feature: w(sae, early).feature, threshold: 0, comparison: "less_equal" }]],
    [`${sae}, within the last three tokens`, (w) => [{ sae, hook: late, ...w(sae, late), comparison: "greater_equal", lookback: 3 }]],
    [`${sae}, and another one at another hook`, (w) => [{ sae, hook: late, ...w(sae, late), comparison: "greater", lookback: 4 }, { sae: "topk", hook: early, ...w("topk", early), comparison: "less" }]],
  ]);

  it.each(cases)("apply where they hold: %s", async (_, make) => {
    const conditions = make(watch);
    const wanted = oracle(conditions);
    const edits: Edit[] = [{ id: "e", hook: late, method: "add", direction: v, strength: 1.5, conditions }];
    const { slots, edited, endedBy } = await engine.prefill([{ tokens: prompt, edits }], { withLogits: true });
    const inPrompt = wanted.held.slice(0, prompt.length).filter(Boolean).length;
    expect([...edited]).toEqual([inPrompt > 0 ? 1 : 2]);
    expect([...endedBy]).toEqual([-1]);
    for (const [t, token] of fed.entries()) {
      const step = await engine.decode([{ slot: slots[0]!, token }], { withLogits: true });
      expect(relativeDifference(step.logits, wanted.logits[prompt.length + t]!)).toBeLessThan(1e-5);
      expect(step.edited[0]).toBe(wanted.held[prompt.length + t] === true ? 1 : 2);
    }
    const steps = wanted.held.slice(prompt.length).filter(Boolean).length;
    const [proof] = await engine.proofs(slots[0]!);
    expect(proof).toMatchObject({ promptRows: inPrompt, steps, offPromptRows: prompt.length - inPrompt, offSteps: fed.length - steps });
    expect(inPrompt + steps).toBeGreaterThan(0);
    expect(inPrompt + steps).toBeLessThan(tokens.length);
    await engine.free(slots);
    const whole = await engine.logits({ tokens, edits }, { positions: "all" });
    expect(relativeDifference(whole.logits, wanted.logits.flat())).toBeLessThan(1e-5);
  });

  it("hold for each row of a batch by itself, and after a prefix that is shared or forked", async () => {
    const lists = cases.map(([, make], i): Edit[] => [{ id: "e", hook: late, method: "add", direction: v, strength: 1.5, conditions: make(watch), ...(i % 2 === 0 ? {} : { prompt: new Uint8Array(prompt.length) }) }]);
    const batch = await engine.prefill([{ tokens: prompt }, ...lists.map((edits) => ({ tokens: prompt, edits, reuse: { row: 0 } }))]);
    expect(batch.reusedTokens[2]).toBeGreaterThanOrEqual(prompt.length - 3);
    const copies: number[] = [];
    for (const slot of batch.slots) copies.push(await engine.fork(slot));
    const alone = [];
    for (const edits of lists) alone.push((await engine.prefill([{ tokens: prompt, edits }])).slots[0]!);
    for (const token of fed) {
      const joint = await engine.decode([...batch.slots, ...copies].map((slot) => ({ slot, token })), { withLogits: true });
      for (const [i, slot] of alone.entries()) {
        const single = await engine.decode([{ slot, token }], { withLogits: true });
        for (const row of [i + 1, i + 1 + batch.slots.length]) {
          expect(relativeDifference(joint.logits.subarray(row * 96, (row + 1) * 96), single.logits)).toBeLessThan(2e-6);
          expect(joint.edited[row]).toBe(single.edited[0]);
        }
      }
    }
    for (const [i, slot] of alone.entries()) expect((await engine.proofs(batch.slots[i + 1]!))[0]).toMatchObject({ steps: (await engine.proofs(slot))[0]!.steps });
    await engine.free([...batch.slots, ...copies, ...alone]);
  });

  it("gate feature edits and reconstructions too", async () => {
    const condition: EditCondition = { sae: "standard", hook: early, ...watch("standard", early), comparison: "greater" };
    const { held } = oracle([condition]);
    for (const edit of [
      { method: "feature_set", sae: "topk", feature: 4, strength: 3 },
      { method: "feature_set", sae: "standard", feature: 4, strength: 3, keepErrorTerm: false },
      { method: "reconstruct", sae: "jumprelu" },
    ] as const) {
      const gated: Edit = { id: "e", hook: late, ...edit, conditions: [condition] };
      const masked: Edit = { id: "e", hook: late, ...edit, prompt: Uint8Array.from(held, (holds) => (holds ? 1 : 0)) };
      const [a, b] = [await engine.logits({ tokens, edits: [gated] }, { positions: "all" }), await engine.logits({ tokens, edits: [masked] }, { positions: "all" })];
      expect(relativeDifference(a.logits, b.logits)).toBeLessThan(1e-6);
      expect(a.proofs[0]).toMatchObject({ promptRows: b.proofs[0]!.promptRows, offPromptRows: tokens.length - b.proofs[0]!.promptRows });
    }
  });

  it("end the sequence at the first row where all conditions that abort hold", async () => {
    const abort: EditCondition = { sae: "topk", hook: late, ...watch("topk", late), comparison: "greater", action: "abort" };
    const plain = reference.forward([...tokens]).residuals[points[late]!]!.map((row) => new ReferenceSae(saes.topk).encode(row)[abort.feature]! > abort.threshold);
    const watcher = (over: Partial<Edit>): Edit[] => [
      { id: "other", hook: early, method: "add", direction: v, strength: 1e-9 },
      { id: "e", hook: early, method: "add", direction: v, strength: 1e-9, conditions: [abort], ...over } as Edit,
    ];
    const started = await engine.prefill([{ tokens: prompt, edits: watcher({}) }, { tokens: prompt, edits: watcher({ prompt: new Uint8Array(prompt.length) }) }]);
    expect([...started.endedBy]).toEqual([plain.slice(0, prompt.length).includes(true) ? 1 : -1, -1]);
    let ended = false;
    for (const [t, token] of fed.entries()) {
      ended ||= plain[prompt.length + t]!;
      expect((await engine.decode([{ slot: started.slots[1]!, token }])).endedBy[0]).toBe(ended ? 1 : -1);
    }
    expect(ended).toBe(true);
    await engine.free(started.slots);
  });

  const condition: EditCondition = { sae: "topk", hook: late, feature: 1, comparison: "greater", threshold: 1 };
  it.each([
    ["a feature behind the edit", [{ ...condition, hook: "blocks.2.hook_resid_post" }], "edit e: conditions[0].hook"],
    ["a feature that is not there", [{ ...condition, feature: 40 }], "got 40, wanted 0 to 39"],
    ["an SAE that is not loaded", [{ ...condition, sae: "none" }], "no such SAE"],
    ["a threshold that is not finite", [{ ...condition, threshold: Number.NaN }], "conditions[0].threshold"],
    ["a lookback of nothing", [{ ...condition, lookback: 0 }], "conditions[0].lookback"],
    ["a comparison that is not there", [{ ...condition, comparison: "equal" as "less" }], "conditions[0].comparison"],
    ["less than nothing", [{ ...condition, comparison: "less", threshold: 0 }], "got less 0, wanted one that can hold"],
    ["conditions that contradict each other", [condition, { ...condition, comparison: "less_equal" }], "conditions[1]; got less_equal 1, wanted one that can hold with conditions[0]"],
  ] satisfies [string, EditCondition[], string][])("refuse %s", async (_, conditions, message) => {
    await expect(engine.logits({ tokens, edits: [{ id: "e", hook: late, method: "add", direction: v, strength: 1, conditions }] })).rejects.toThrow(message);
  });
});

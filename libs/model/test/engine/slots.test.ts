import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { CacheFullError, greedy, noToken, openEngine, type Engine, type SlotId } from "../../src/index.ts";
import { relativeDifference, tokensOf } from "../support/compare.ts";
import { tinyConfig, writeTinyModel } from "../support/tiny-model.ts";

const vocab = tinyConfig.vocab_size;

describe("slots", () => {
  let model: Awaited<ReturnType<typeof writeTinyModel>>;
  let engine: Engine;
  beforeAll(async () => {
    model = await writeTinyModel();
    engine = await openEngine({ modelDir: model.modelDir, threads: 2 });
  });
  afterAll(async () => {
    await engine.close();
    await model[Symbol.asyncDispose]();
  });

  /** Logits of the last position of a sequence, computed whole. */
  async function whole(tokens: Uint32Array): Promise<Float32Array> {
    return (await engine.logits({ tokens })).logits;
  }

  async function decodeAll(slot: SlotId, tokens: Uint32Array): Promise<Float32Array> {
    let logits = new Float32Array();
    for (const token of tokens) logits = Float32Array.from((await engine.decode([{ slot, token }], { withLogits: true })).logits);
    return logits;
  }

  it("continue a prompt longer than a chunk as if it had been read whole", async () => {
    const tokens = tokensOf(600, vocab);
    const { slots, logits } = await engine.prefill([{ tokens }], { withLogits: true });
    expect(relativeDifference(logits, await whole(tokens))).toBeLessThan(1e-5);
    const more = tokensOf(5, vocab, 9);
    expect(relativeDifference(await decodeAll(slots[0]!, more), await whole(Uint32Array.from([...tokens, ...more])))).toBeLessThan(1e-5);
    await engine.free(slots);
  });

  it("of different lengths decode together to exactly what each decodes alone", async () => {
    const prompts = [3, 70, 17, 128, 64].map((length, i) => tokensOf(length, vocab, i + 2));
    const together = await engine.prefill(prompts.map((tokens) => ({ tokens })));
    const alone = await Promise.all(prompts.map(async (tokens) => (await engine.prefill([{ tokens }])).slots[0]!));
    // 80 steps take every slot through several capacities.
    for (let step = 0; step < 80; step++) {
      const tokens = prompts.map((_, i) => (step * 7 + i * 5) % vocab);
      const joint = await engine.decode(together.slots.map((slot, i) => ({ slot, token: tokens[i]! })), { withLogits: true });
      if (step % 20 !== 19) {
        for (const [i, slot] of alone.entries()) await engine.decode([{ slot, token: tokens[i]! }]);
        continue;
      }
      for (const [i, slot] of alone.entries()) {
        const single = await engine.decode([{ slot, token: tokens[i]! }], { withLogits: true });
        expect(relativeDifference(joint.logits.subarray(i * vocab, (i + 1) * vocab), single.logits)).toBeLessThan(2e-6);
        expect(joint.tokens[i]).toBe(single.tokens[0]);
      }
    }
    await engine.free([...together.slots, ...alone]);
  });

  it("keep their own caches when batches change", async () => {
    const prompts = [10, 11, 12, 13].map((length, i) => tokensOf(length, vocab, i + 20));
    const { slots } = await engine.prefill(prompts.map((tokens) => ({ tokens })));
    const texts = prompts.map((tokens) => [...tokens]);
    const step = async (members: readonly number[]): Promise<void> => {
      const fed = members.map((i) => ({ slot: slots[i]!, token: (texts[i]!.length * 3 + i) % vocab }));
      const { logits } = await engine.decode(fed, { withLogits: true });
      for (const [row, i] of members.entries()) {
        texts[i]!.push(fed[row]!.token);
        expect(relativeDifference(logits.subarray(row * vocab, (row + 1) * vocab), await whole(Uint32Array.from(texts[i]!)))).toBeLessThan(1e-5);
      }
    };
    await step([0, 1, 2, 3]);
    await step([2, 0]);
    await step([3]);
    await step([1, 3, 0]);
    await engine.free([slots[0]!]);
    await step([3, 2, 1]);
    await engine.free(slots);
  });

  it("decode on while sequences are harvested, whose hooks cut the model anew", async () => {
    const other = await openEngine({ modelDir: model.modelDir, threads: 1 });
    try {
      const tokens = tokensOf(30, vocab, 12);
      const { slots } = await other.prefill([{ tokens }]);
      const sequences = Array.from({ length: 300 }, (_, i) => ({ tokens: tokensOf(100, vocab, i + 1) }));
      let harvested = 0;
      const harvest = (async () => {
        for await (const batch of other.forward(sequences, { taps: [{ hook: "blocks.1.hook_resid_pre" }], batchTokens: 100 })) harvested += batch.sequences.length;
      })();
      const text = [...tokens];
      let logits = new Float32Array();
      for (let token = 3; token < 23; token++) {
        text.push(token);
        logits = Float32Array.from((await other.decode([{ slot: slots[0]!, token }], { withLogits: true })).logits);
      }
      expect(harvested).toBeLessThan(200);
      expect(relativeDifference(logits, await whole(Uint32Array.from(text)))).toBeLessThan(1e-5);
      await harvest;
      expect(harvested).toBe(300);
    } finally {
      await other.close();
    }
  });

  it("fork into sequences that go separate ways", async () => {
    const tokens = tokensOf(20, vocab, 3);
    const { slots } = await engine.prefill([{ tokens }]);
    const twin = await engine.fork(slots[0]!);
    const left = Uint32Array.of(5, 6, 7);
    const right = Uint32Array.of(50, 60, 70);
    expect(relativeDifference(await decodeAll(twin, right), await whole(Uint32Array.from([...tokens, ...right])))).toBeLessThan(1e-5);
    expect(relativeDifference(await decodeAll(slots[0]!, left), await whole(Uint32Array.from([...tokens, ...left])))).toBeLessThan(1e-5);
    await engine.free([twin, ...slots]);
  });

  it("share the longest equal prefix, and choose the same token from the same prompt", async () => {
    const tokens = tokensOf(40, vocab, 4);
    const other = Uint32Array.from([...tokens.subarray(0, 25), 3, 4, 5]);
    const first = await engine.prefill([{ tokens }, { tokens, reuse: { row: 0 } }, { tokens: other, reuse: { row: 0 } }, { tokens: tokens.subarray(0, 30), reuse: { row: 0 } }], { withLogits: true });
    expect([...first.reusedTokens]).toEqual([0, 40, 25, 29]);
    expect(first.logits.subarray(vocab, 2 * vocab)).toEqual(first.logits.subarray(0, vocab));
    expect(relativeDifference(first.logits.subarray(2 * vocab, 3 * vocab), await whole(other))).toBeLessThan(1e-5);
    expect(relativeDifference(first.logits.subarray(3 * vocab), await whole(tokens.slice(0, 30)))).toBeLessThan(1e-5);

    await engine.decode([{ slot: first.slots[0]!, token: 9 }]);
    const longer = Uint32Array.from([...tokens, 9, 10]);
    const second = await engine.prefill([{ tokens: longer, reuse: first.slots[0]! }], { withLogits: true });
    expect([...second.reusedTokens]).toEqual([41]);
    expect(relativeDifference(second.logits, await whole(longer))).toBeLessThan(1e-5);
    await engine.free([...first.slots, ...second.slots]);
  });

  it("share nothing that an edit touches", async () => {
    const tokens = tokensOf(12, vocab, 5);
    const prompt = new Uint8Array(12);
    prompt[7] = 1;
    const edits = [{ id: "e", hook: "blocks.1.hook_resid_pre", method: "replace" as const, direction: new Float32Array(32), prompt }];
    const { reusedTokens, logits, slots } = await engine.prefill([{ tokens }, { tokens, edits, reuse: { row: 0 } }, { tokens, reuse: { row: 1 } }], { withLogits: true });
    expect([...reusedTokens]).toEqual([0, 7, 7]);
    const edited = await engine.logits({ tokens, edits });
    expect(relativeDifference(logits.subarray(vocab, 2 * vocab), edited.logits)).toBeLessThan(1e-5);
    expect(relativeDifference(logits.subarray(2 * vocab), await whole(tokens))).toBeLessThan(1e-5);
    await engine.free(slots);
  });

  it("go on from tokens that were generated before: the same random stream, the same penalties, the same record of edits", async () => {
    const tokens = tokensOf(12, vocab, 31);
    const edits = [{ id: "push", hook: "blocks.1.hook_resid_pre", method: "add" as const, direction: tokensToVector(tokens), strength: 0.2 }];
    const sampling = { ...greedy, temperature: 1, seed: 5n, presencePenalty: 0.5, repetitionPenalty: 1.2 };
    const first = await engine.prefill([{ tokens, edits, sampling }]);
    const chosen = [first.tokens[0]!];
    for (let step = 0; step < 9; step++) chosen.push((await engine.decode([{ slot: first.slots[0]! }])).tokens[0]!);
    const again = await engine.prefill([{ tokens: Uint32Array.from([...tokens, ...chosen.slice(0, 4)]), edits, sampling, promptLength: 12 }]);
    const continued = [again.tokens[0]!];
    for (let step = 0; step < 5; step++) continued.push((await engine.decode([{ slot: again.slots[0]! }])).tokens[0]!);
    expect(continued).toEqual(chosen.slice(4));
    const [whole, resumed] = [await engine.proofs(first.slots[0]!), await engine.proofs(again.slots[0]!)];
    expect(resumed[0]).toMatchObject({ promptRows: whole[0]!.promptRows, steps: whole[0]!.steps, changedRows: whole[0]!.changedRows });
    await expect(engine.prefill([{ tokens, promptLength: 13 }])).rejects.toThrow("rows[0].promptLength; got 13, wanted 1 to 12");
    await engine.free([...first.slots, ...again.slots]);
  });

  it("report residuals, codes' offsets and log-probabilities of what ran", async () => {
    const prompts = [tokensOf(300, vocab, 6), tokensOf(4, vocab, 7)];
    const tap = { hook: "blocks.1.hook_resid_post" };
    const start = await engine.prefill(prompts.map((tokens) => ({ tokens, sampling: { ...greedy, nLogprobs: 3 } })), { taps: [tap], withLogits: true });
    expect([...start.offsets]).toEqual([0, 300, 304]);
    for (const [i, tokens] of prompts.entries()) {
      let wanted = new Float32Array();
      for await (const batch of engine.forward([{ tokens }], { taps: [tap] })) wanted = Float32Array.from(batch.residuals[0]!);
      expect(relativeDifference(start.residuals[0]!.subarray(start.offsets[i]! * 32, start.offsets[i + 1]! * 32), wanted)).toBeLessThan(1e-5);
      const row = start.logits.subarray(i * vocab, (i + 1) * vocab);
      const scale = Math.log(row.reduce((sum, logit) => sum + Math.exp(logit), 0));
      expect(start.logprobs[i]).toBeCloseTo(row[start.tokens[i]!]! - scale, 5);
      expect(start.top[i]!.tokens[0]).toBe(start.tokens[i]);
      expect([...start.top[i]!.logprobs]).toEqual([...start.top[i]!.logprobs].sort((a, b) => b - a));
    }
    await engine.free(start.slots);
  });

  it("compare a row's distribution with another's", async () => {
    const tokens = tokensOf(6, vocab, 8);
    const edits = [{ id: "push", hook: "blocks.2.hook_resid_pre", method: "add" as const, direction: tokensToVector(tokens), strength: 0.3 }];
    const { slots, kl, logits } = await engine.prefill([{ tokens }, { tokens, edits, klFromRow: 0 }], { withLogits: true });
    const [base, edited] = [softmax(logits.subarray(0, vocab)), softmax(logits.subarray(vocab))];
    const wanted = edited.reduce((sum, p, i) => sum + p * Math.log(p / base[i]!), 0);
    expect(kl[0]).toBeNaN();
    expect(kl[1]).toBeCloseTo(wanted, 5);
    const step = await engine.decode([{ slot: slots[0]!, token: 4 }, { slot: slots[1]!, token: 4, klFrom: slots[0]! }]);
    expect(step.kl[1]).toBeGreaterThan(0);
    await engine.free(slots);
  });

  it("whose logits are not finite fail alone", async () => {
    const tokens = tokensOf(6, vocab, 9);
    const blown = [{ id: "e", hook: "blocks.2.hook_resid_pre", method: "add" as const, direction: new Float32Array(32).fill(3e38), strength: 3, prompt: new Uint8Array(6) }];
    const { slots } = await engine.prefill([{ tokens }, { tokens, edits: blown }, { tokens }]);
    const step = await engine.decode(slots.map((slot) => ({ slot })));
    expect(step.faults).toEqual([{ row: 1, message: expect.stringMatching(/not finite/) as string }]);
    expect(step.tokens[0]).toBe(step.tokens[2]);
    const all = [{ ...blown[0]!, prompt: new Uint8Array(6).fill(1) }];
    await expect(engine.prefill([{ tokens, edits: all }])).rejects.toThrow("not finite");
    await engine.free(slots);
    expect((await engine.usage()).slots).toBe(0);
  });

  it("are refused by name when they do not exist, are named twice or are full", async () => {
    await expect(engine.decode([])).rejects.toThrow("a step has no rows");
    await expect(engine.decode([{ slot: 999_999 }])).rejects.toThrow("there is no such slot (field rows[0].slot; got 999999, wanted a slot that was not freed)");
    const { slots } = await engine.prefill([{ tokens: tokensOf(700, vocab) }]);
    await expect(engine.decode([{ slot: slots[0]! }])).rejects.toThrow("the slot's context is full (field rows[0].slot; got 701 tokens, wanted at most 700 tokens)");
    const { slots: short } = await engine.prefill([{ tokens: tokensOf(3, vocab) }]);
    await expect(engine.decode([{ slot: short[0]! }, { slot: short[0]! }])).rejects.toThrow("named twice");
    await expect(engine.decode([{ slot: short[0]!, token: 96 }])).rejects.toThrow("got 96, wanted below 96");
    await expect(engine.prefill([{ tokens: tokensOf(701, vocab) }])).rejects.toThrow("a sequence is longer than the context (field rows[0].tokens; got 701 tokens, wanted at most 700 tokens)");
    await engine.free([...slots, ...short]);
  });

  it("are left out of a step, if so asked, once they have chosen a token that ends them", async () => {
    const prompts = [7, 12].map((length) => tokensOf(length, vocab));
    const plain = await engine.prefill(prompts.map((tokens) => ({ tokens })));
    const first = await engine.decode(plain.slots.map((slot) => ({ slot })));
    const ending = first.tokens[0]!;
    const second = await engine.decode([{ slot: plain.slots[1]! }]);

    const { slots } = await engine.prefill([{ tokens: prompts[0]!, endIds: [ending] }, { tokens: prompts[1]!, endIds: [vocab] }]);
    const rows = slots.map((slot) => ({ slot }));
    // Asked for before the step before it is known.
    const steps = await Promise.all([engine.decode(rows, { skipEnded: true }), engine.decode(rows, { skipEnded: true, withLogits: true })]);
    expect(steps[0].tokens).toEqual(first.tokens);
    expect([...steps[1].tokens]).toEqual([noToken, second.tokens[0]]);
    expect(steps[1].logits.length).toBe(vocab);
    expect([...steps[1].offsets]).toEqual([0, 0, 1]);
    const named = await engine.decode([{ slot: slots[0]!, token: ending }], { skipEnded: true });
    expect(named.tokens[0]).not.toBe(noToken);
    await engine.free([...plain.slots, ...slots]);
  });

  it("are refused when the cache's budget is spent, and welcome again when others are freed", async () => {
    // Heads of 8 take 16 in the cache.
    const perToken = 3 * 2 * 16 * 2 * 4;
    const small = await openEngine({ modelDir: model.modelDir, threads: 1, cacheBytes: 128 * perToken });
    try {
      const { slots } = await small.prefill([{ tokens: tokensOf(50, vocab) }, { tokens: tokensOf(50, vocab) }]);
      const refused = small.prefill([{ tokens: tokensOf(50, vocab) }]);
      await expect(refused).rejects.toBeInstanceOf(CacheFullError);
      await expect(small.prefill([{ tokens: tokensOf(5, vocab) }, { tokens: tokensOf(5, vocab) }])).rejects.toBeInstanceOf(CacheFullError);
      expect(await small.usage()).toEqual({ slots: 2, cacheBytes: 128 * perToken });
      expect([small.cacheBytesOf(51), small.cacheBytesOf(65), small.info.cacheBytes]).toEqual([64 * perToken, 128 * perToken, 128 * perToken]);
      await small.free(slots);
      expect((await small.usage()).slots).toBe(0);
      const { slots: again } = await small.prefill([{ tokens: tokensOf(100, vocab) }]);
      expect(again.length).toBe(1);
    } finally {
      await small.close();
    }
  });
});

function tokensToVector(tokens: Uint32Array): Float32Array {
  return Float32Array.from({ length: 32 }, (_, i) => (tokens[i % tokens.length]! % 7) - 3);
}

function softmax(row: Float32Array): number[] {
  const weights = [...row].map((logit) => Math.exp(logit));
  const total = weights.reduce((a, b) => a + b, 0);
  return weights.map((weight) => weight / total);
}

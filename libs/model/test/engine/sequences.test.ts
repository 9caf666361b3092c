import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { InputError } from "@mistral-sae/tensor";
import { openEngine, type Engine } from "../../src/index.ts";
import { collect, relativeDifference, residuals, tokensOf } from "../support/compare.ts";
import { ReferenceModel } from "../support/reference-model.ts";
import { tinyConfig, writeTinyModel } from "../support/tiny-model.ts";

const vocab = tinyConfig.vocab_size;
const d = tinyConfig.hidden_size;
const tap = { hook: "blocks.1.hook_resid_pre" };

describe("sequences", () => {
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

  it("are packed by length, and every row finds its way back", async () => {
    const sequences = Array.from({ length: 50 }, (_, i) => ({ tokens: tokensOf(1 + ((i * 37) % 60), vocab, i + 1) }));
    const batches = await collect(engine.forward(sequences, { taps: [tap], batchTokens: 200 }));
    expect(batches.length).toBeGreaterThan(5);
    expect(batches.flatMap((batch) => [...batch.sequences]).toSorted((a, b) => a - b)).toEqual(sequences.map((_, i) => i));
    const found = await residuals(engine, sequences, { taps: [tap], batchTokens: 200 });
    for (const [i, sequence] of sequences.entries()) {
      const [alone] = await residuals(engine, [sequence], { taps: [tap] });
      expect(found[i]![0]!.length).toBe(sequence.tokens.length * d);
      expect(relativeDifference(found[i]![0]!, alone![0]!)).toBeLessThan(2e-6);
    }
  });

  it("come out the same, bit for bit, wherever the model is cut and whatever shares their batch", async () => {
    const fresh = await openEngine({ modelDir: model.modelDir, threads: 1 });
    try {
      const hook = { hook: "blocks.2.hook_resid_post" };
      const tokens = tokensOf(40, vocab, 8);
      const [before] = await residuals(fresh, [{ tokens }], { taps: [hook] });
      for (const point of [0, 1, 2]) await residuals(fresh, [{ tokens }], { taps: [{ hook: `blocks.${point}.hook_resid_pre` }] });
      const [cut] = await residuals(fresh, [{ tokens }], { taps: [hook] });
      expect(cut).toEqual(before);
      const others = [3, 40, 41, 60].map((length, i) => ({ tokens: tokensOf(length, vocab, i + 30) }));
      const [together] = await residuals(fresh, [{ tokens }, ...others], { taps: [hook], batchTokens: 10_000 });
      expect(together).toEqual(before);
    } finally {
      await fresh.close();
    }
  });

  it("of views into larger arrays are read as they are, and stay the caller's", async () => {
    const all = tokensOf(100, vocab, 3);
    const [part] = await residuals(engine, [{ tokens: all.subarray(20, 40) }], { taps: [tap] });
    const [copy] = await residuals(engine, [{ tokens: all.slice(20, 40) }], { taps: [tap] });
    expect(part).toEqual(copy);
    expect(all.length).toBe(100);
  });

  it("score as the formulas say, alone and against the unedited model", async () => {
    const reference = await ReferenceModel.open(model.modelDir);
    const sequences = [12, 5, 1, 9].map((length, i) => ({ tokens: tokensOf(length, vocab, i + 5) }));
    const vector = Float32Array.from({ length: d }, (_, i) => Math.sin(i));
    const edits = [{ id: "e", hook: "blocks.1.hook_resid_pre", method: "add" as const, direction: vector, strength: 0.5 }];
    const logSoftmax = (row: readonly number[]): number[] => {
      const most = Math.max(...row);
      const scale = most + Math.log(row.reduce((sum, x) => sum + Math.exp(x - most), 0));
      return row.map((x) => x - scale);
    };
    const steer = (at: number, rows: number[][]): void => {
      if (at === 1) for (const [i, row] of rows.entries()) rows[i] = row.map((x, j) => x + 0.5 * vector[j]!);
    };
    for await (const batch of engine.score(sequences.map((sequence) => ({ ...sequence, edits })), { withKl: true, batchTokens: 24 })) {
      for (const [i, index] of batch.sequences.entries()) {
        const tokens = [...sequences[index]!.tokens];
        const [plain, edited] = [reference.forward(tokens).logits.map(logSoftmax), reference.forward(tokens, steer).logits.map(logSoftmax)];
        const at = (values: Float32Array): number[] => [...values.subarray(batch.offsets[i], batch.offsets[i + 1])];
        const logprobs = tokens.slice(1).map((token, t) => edited[t]![token]!);
        const kl = tokens.slice(1).map((_, t) => plain[t]!.reduce((sum, p, v) => sum + Math.exp(p) * (p - edited[t]![v]!), 0));
        expect(relativeDifference(at(batch.logprobs), logprobs)).toBeLessThan(1e-5);
        expect(relativeDifference(at(batch.kl), kl)).toBeLessThan(1e-4);
        expect(batch.proofs[i]![0]!.promptRows).toBe(tokens.length);
      }
    }
  });

  it("read layer by layer through the head", async () => {
    const reference = await ReferenceModel.open(model.modelDir);
    const tokens = tokensOf(8, vocab, 2);
    const { residuals: rows } = reference.forward([...tokens]);
    const { logits, positions } = await engine.logits({ tokens }, { positions: [3, 7], hook: "blocks.2.hook_resid_pre" });
    expect([...positions]).toEqual([3, 7]);
    expect(relativeDifference(logits, [3, 7].flatMap((position) => reference.head(rows[2]![position]!)))).toBeLessThan(1e-5);
  });

  it("stop at an abort, with its reason, and the engine serves on", async () => {
    const sequences = Array.from({ length: 400 }, (_, i) => ({ tokens: tokensOf(64, vocab, i + 1) }));
    const stop = new AbortController();
    let batches = 0;
    const run = async (): Promise<void> => {
      for await (const batch of engine.forward(sequences, { taps: [tap], batchTokens: 64, signal: stop.signal })) {
        expect(batch.sequences.length).toBe(1);
        if (++batches === 3) stop.abort(new Error("enough"));
      }
    };
    await expect(run()).rejects.toThrow("enough");
    expect(batches).toBeLessThan(6);
    await expect(engine.logits(sequences[0]!, { signal: stop.signal })).rejects.toThrow("enough");
    expect((await engine.logits(sequences[0]!)).logits.length).toBe(vocab);
  });

  it("abandoned half way leave nothing behind", async () => {
    const sequences = Array.from({ length: 40 }, (_, i) => ({ tokens: tokensOf(64, vocab, i + 1) }));
    for await (const batch of engine.forward(sequences, { taps: [tap], batchTokens: 64 })) {
      expect(batch.offsets.length).toBe(2);
      break;
    }
    expect((await engine.logits(sequences[0]!)).logits.length).toBe(vocab);
  });

  it("stop a prefill between chunks and free what it took", async () => {
    // Heads of 8 take 16 in the cache.
    const perToken = 3 * 2 * 16 * 2 * 4;
    const small = await openEngine({ modelDir: model.modelDir, threads: 1, cacheBytes: 768 * perToken });
    try {
      const stop = new AbortController();
      const tokens = tokensOf(690, vocab);
      const run = small.prefill([{ tokens }], { signal: stop.signal });
      stop.abort(new Error("not any more"));
      await expect(run).rejects.toThrow("not any more");
      const { slots } = await small.prefill([{ tokens }]);
      expect(slots.length).toBe(1);
    } finally {
      await small.close();
    }
  });

  it("that the model cannot read are refused before anything runs", async () => {
    const good = { tokens: tokensOf(4, vocab) };
    const refused = async (tokens: Uint32Array, message: string): Promise<void> => {
      await expect(collect(engine.forward([good, { tokens }], { taps: [tap] }))).rejects.toThrow(message);
    };
    await refused(new Uint32Array(), "a sequence has no tokens (field sequences[1].tokens; got 0 tokens, wanted 1 to 700 tokens)");
    await refused(Uint32Array.of(1, 96), "a token id lies outside the vocabulary (field sequences[1].tokens[1]; got 96, wanted below 96)");
    await refused(new Uint32Array(701), "a sequence is longer than the context (field sequences[1].tokens; got 701 tokens, wanted at most 700 tokens)");
    await expect(collect(engine.forward([good], { taps: [{ hook: "blocks.0.attn.hook_pattern" }] }))).rejects.toThrow("unknown hook (field taps[0].hook; got blocks.0.attn.hook_pattern");
    await expect(engine.logits(good, { positions: [4] })).rejects.toThrow("positions[0]; got 4, wanted 0 to 3");
    await expect(engine.logits(good, { topK: 97 })).rejects.toThrow("topK is out of range (got 97, wanted an integer from 1 to 96)");
    const error: unknown = await engine.logits(good, { hook: "nonsense" }).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(InputError);
    expect(error).toMatchObject({ field: "hook", got: "nonsense" });
  });

  it("reject when the engine is closed under them", async () => {
    const other = await openEngine({ modelDir: model.modelDir, threads: 1 });
    const run = other.logits({ tokens: tokensOf(600, vocab) }, { positions: "all" });
    const closing = other.close();
    await expect(run).rejects.toThrow("the engine is closed");
    await closing;
    await expect(other.closed).resolves.toBeUndefined();
    await expect(other.logits({ tokens: tokensOf(3, vocab) })).rejects.toThrow("the engine is closed");
  });
});

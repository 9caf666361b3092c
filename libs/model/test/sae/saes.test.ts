import { unpackSparse, rowBounds, type SparseRows } from "@mistral-sae/tensor";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openEngine, type Engine, type LoadedSae } from "../../src/index.ts";
import { collect, relativeDifference, residuals, tokensOf } from "../support/compare.ts";
import { ReferenceModel } from "../support/reference-model.ts";
import { ReferenceSae, tinySae } from "../support/tiny-sae.ts";
import { tinyConfig, writeTinyModel } from "../support/tiny-model.ts";

const d = tinyConfig.hidden_size;
const hook = "blocks.1.hook_resid_post";
const kinds: Record<string, LoadedSae> = {
  topk: tinySae(),
  "topk with layer norm": tinySae({ normalizeActivations: "layer_norm" }),
  "topk rescaled by decoder norms": tinySae({ rescaleActsByDecoderNorm: true, normalizeActivations: "constant_norm_rescale" }),
  "topk with more places than active features": tinySae({ k: 38 }),
  standard: tinySae({ architecture: "standard", k: undefined, applyBDecToInput: false }),
  jumprelu: tinySae({ architecture: "jumprelu", k: undefined, threshold: new Float32Array(40).fill(0.8) }),
  "jumprelu with a threshold a feature": tinySae({ architecture: "jumprelu", k: undefined, threshold: Float32Array.from({ length: 40 }, (_, f) => 0.2 + 0.05 * f) }),
};

/** A row's code as dense activations. */
function dense(code: SparseRows, row: number): number[] {
  const out = Array.from({ length: code.dSae }, () => 0);
  const [start, end] = rowBounds(code, row);
  for (let pair = start; pair < end; pair++) out[code.indices[pair]!] = code.values[pair]!;
  return out;
}

describe("SAEs", () => {
  let model: Awaited<ReturnType<typeof writeTinyModel>>;
  let engine: Engine;
  const sequences = [9, 30, 17, 1].map((length, i) => ({ tokens: tokensOf(length, tinyConfig.vocab_size, i + 1) }));
  beforeAll(async () => {
    model = await writeTinyModel();
    engine = await openEngine({ modelDir: model.modelDir, threads: 2 });
    for (const [name, sae] of Object.entries(kinds)) await engine.loadSae(name, sae);
  });
  afterAll(async () => {
    await engine.close();
    await model[Symbol.asyncDispose]();
  });

  describe.each(Object.entries(kinds))("%s", (name, weights) => {
    const oracle = new ReferenceSae(weights);

    it("encodes sequences to the formula's codes, descending and without zeros", async () => {
      const rows = await residuals(engine, sequences, { taps: [{ hook }] });
      let seen = 0;
      for await (const batch of engine.encode(name, sequences, { hook, activationDtype: "F32", batchTokens: 40 })) {
        const code = unpackSparse(batch.code);
        for (const [i, sequence] of batch.sequences.entries()) {
          for (let position = 0; position < sequences[sequence]!.tokens.length; position++) {
            const row = batch.offsets[i]! + position;
            const h = [...rows[sequence]![0]!.subarray(position * d, (position + 1) * d)];
            expect(relativeDifference(dense(code, row), oracle.encode(h))).toBeLessThan(1e-5);
            const [start, end] = rowBounds(code, row);
            const values = [...code.values.subarray(start, end)];
            expect(values).toEqual(values.toSorted((a, b) => b - a));
            expect(values.every((value) => value > 0)).toBe(true);
            seen++;
          }
        }
      }
      expect(seen).toBe(9 + 30 + 17 + 1);
    });

    it("keeps the strongest features when told how many", async () => {
      const [rows] = await residuals(engine, [sequences[1]!], { taps: [{ hook }] });
      const [whole] = await collect(engine.encodeRows(name, rows![0]!, { activationDtype: "F32" }));
      const [cut] = await collect(engine.encodeRows(name, rows![0]!, { activationDtype: "F32", maxFeatures: 3 }));
      const [all, few] = [unpackSparse(whole!.code), unpackSparse(cut!.code)];
      for (let row = 0; row < 30; row++) {
        const [start, end] = rowBounds(all, row);
        const [from, to] = rowBounds(few, row);
        expect([...few.indices.subarray(from, to)]).toEqual([...all.indices.subarray(start, Math.min(end, start + 3))]);
      }
    });

    it("decodes codes to rows in normalised space", async () => {
      const [rows] = await residuals(engine, [sequences[2]!], { taps: [{ hook }] });
      const [batch] = await collect(engine.encodeRows(name, rows![0]!, { activationDtype: "F32" }));
      const code = unpackSparse(batch!.code);
      const decoded = await engine.decodeRows(name, code);
      for (let row = 0; row < 17; row++) {
        const h = [...rows![0]!.subarray(row * d, (row + 1) * d)];
        const { mean, sd } = oracle.statistics(h);
        const wanted = oracle.reconstruct(h, oracle.encode(h)).map((x) => (x - mean) / sd);
        expect(relativeDifference(decoded.subarray(row * d, (row + 1) * d), wanted)).toBeLessThan(1e-5);
      }
    });
  });

  it.each(Object.entries(kinds).filter(([, { architecture }]) => architecture !== "standard"))("tell what came closest to firing, beside the same codes: %s", async (name, weights) => {
    const oracle = new ReferenceSae(weights);
    const [rows] = await residuals(engine, [sequences[1]!], { taps: [{ hook }] });
    const [plain] = await collect(engine.encodeRows(name, rows![0]!, { activationDtype: "F32" }));
    const [both] = await collect(engine.encodeRows(name, rows![0]!, { activationDtype: "F32", nearMisses: 4 }));
    expect(both!.code).toEqual(plain!.code);
    const missed = unpackSparse(both!.nearMisses!.code);
    let seen = 0;
    for (let row = 0; row < 30; row++) {
      const wanted = oracle.nearMisses([...rows![0]!.subarray(row * d, (row + 1) * d)], 4);
      const [start, end] = rowBounds(missed, row);
      expect([...missed.indices.subarray(start, end)]).toEqual(wanted.map(({ feature }) => feature));
      if (start === end) continue;
      expect(relativeDifference(missed.values.subarray(start, end), wanted.map(({ value }) => value))).toBeLessThan(1e-4);
      expect(relativeDifference(both!.nearMisses!.thresholds.subarray(start, end), wanted.map(({ threshold }) => threshold))).toBeLessThan(1e-5);
      seen += end - start;
    }
    expect(seen).toBeGreaterThan(name.includes("more places") ? -1 : 40);
  });

  it("have no near-misses where each pre-activation above 0 fires", async () => {
    await expect(collect(engine.encodeRows("standard", new Float32Array(d), { nearMisses: 1 }))).rejects.toThrow("a standard SAE has no near-misses");
  });

  it("send half-precision activations, and single where one does not fit", async () => {
    const rows = Float32Array.from({ length: 2 * d }, (_, i) => (i < d ? 1 : 3e6));
    const [small] = await collect(engine.encodeRows("topk", rows.subarray(0, d)));
    expect(small!.code.activationDtype).toBe(2);
    const [large] = await collect(engine.encodeRows("topk", rows));
    expect(large!.code.activationDtype).toBe(1);
  });

  it("follow a generation: codes of each row that ran, all features or those asked for", async () => {
    const tokens = tokensOf(12, tinyConfig.vocab_size, 5);
    const traces = [{ sae: "topk", hook }, { sae: "standard", hook, topK: 2 }, { sae: "standard", hook, features: [3, 9] }];
    const { slots, codes } = await engine.prefill([{ tokens }, { tokens: tokens.slice(0, 4) }], { traces });
    const [rows] = await residuals(engine, [{ tokens }], { taps: [{ hook }] });
    const oracle = [new ReferenceSae(kinds["topk"]!), new ReferenceSae(kinds["standard"]!)];
    expect(codes.map((code) => code.nTokens)).toEqual([16, 16, 16]);
    for (let row = 0; row < 16; row++) {
      const position = row < 12 ? row : row - 12;
      const h = [...rows![0]!.subarray(position * d, (position + 1) * d)];
      expect(relativeDifference(dense(codes[0]!, row), oracle[0]!.encode(h))).toBeLessThan(1e-4);
      const strongest = oracle[1]!.encode(h).map((v, f) => [v, f] as const).sort((a, b) => b[0] - a[0]);
      const [start, end] = rowBounds(codes[1]!, row);
      expect([...codes[1]!.indices.subarray(start, end)]).toEqual(strongest.slice(0, 2).map(([, f]) => f));
      expect(relativeDifference(dense(codes[2]!, row), oracle[1]!.encode(h).map((v, f) => (f === 3 || f === 9 ? v : 0)))).toBeLessThan(1e-4);
    }
    await expect(engine.decode([{ slot: slots[0]! }], { traces: [{ sae: "topk", hook, features: [40] }] })).rejects.toThrow("traces[0].features; got 40, wanted 0 to 39");
    await expect(engine.decode([{ slot: slots[0]! }], { traces: [{ sae: "none", hook }] })).rejects.toThrow("there is no such SAE loaded");
    const step = await engine.decode(slots.map((slot) => ({ slot })), { traces: traces.slice(0, 1) });
    expect(step.codes[0]!.nTokens).toBe(2);
    await engine.free(slots);
  });

  it("tell what a feature promotes and suppresses", async () => {
    const reference = await ReferenceModel.open(model.modelDir);
    const oracle = new ReferenceSae(kinds["topk rescaled by decoder norms"]!);
    const { posTokenIds, posLogits, negTokenIds, negLogits } = await engine.featureLogits("topk rescaled by decoder norms", 4, 7, { topK: 5 });
    for (let i = 0; i < 3; i++) {
      // The head divides by the norm of its input, which the lens leaves out.
      const direction = oracle.direction(4 + i);
      const norm = Math.sqrt(direction.reduce((sum, x) => sum + x * x, 0) / d + reference.config.normEpsilon);
      const logits = reference.head(direction).map((logit) => logit * norm);
      const order = logits.map((logit, token) => [logit, token] as const).sort((a, b) => b[0] - a[0]);
      expect([...posTokenIds.subarray(i * 5, i * 5 + 5)]).toEqual(order.slice(0, 5).map(([, token]) => token));
      expect(relativeDifference(posLogits.subarray(i * 5, i * 5 + 5), order.slice(0, 5).map(([logit]) => logit))).toBeLessThan(1e-5);
      expect([...negTokenIds.subarray(i * 5, i * 5 + 5)]).toEqual(order.slice(-5).toReversed().map(([, token]) => token));
      expect(relativeDifference(negLogits.subarray(i * 5, i * 5 + 5), order.slice(-5).toReversed().map(([logit]) => logit))).toBeLessThan(1e-5);
    }
    expect((await engine.featureLogits("topk", 0, 40)).posTokenIds.length).toBe(400);
  });

  it("compare all features with one another as one by one", async () => {
    for (const side of ["decoder", "encoder"] as const) {
      const { topK, features, cosines, norms } = await engine.neighbours("topk", 3, 40, { side, topK: 6 });
      expect([topK, norms.length]).toEqual([6, 37]);
      for (let feature = 3; feature < 40; feature++) {
        const at = (feature - 3) * 6;
        const wanted = await engine.nearest("topk", feature, { side, topK: 6 });
        expect([...features.subarray(at, at + 6)]).toEqual(wanted.map((other) => other.feature));
        expect(relativeDifference(cosines.subarray(at, at + 6), wanted.map(({ cosine }) => cosine))).toBeLessThan(1e-5);
        expect(norms[feature - 3]).toBeCloseTo(Math.hypot(...(await engine.directions("topk", [feature], side))), 4);
      }
    }
    expect((await engine.neighbours("topk", 0, 2, { topK: 100 })).topK).toBe(39);
    await expect(engine.neighbours("topk", 0, 41)).rejects.toThrow("got 0 to 41, wanted within 0 to 40");
  });

  it("give a row of zeros no neighbours", async () => {
    const wDec = Float32Array.from(kinds["topk"]!.wDec);
    wDec.fill(0, 7 * d, 8 * d);
    await engine.loadSae("with a zero row", { ...kinds["topk"]!, wDec });
    const { features, cosines } = await engine.neighbours("with a zero row", 0, 40, { topK: 39 });
    for (let feature = 0; feature < 40; feature++) {
      const found = Array.from(features.subarray(feature * 39, feature * 39 + 39)).filter((_, i) => !Number.isNaN(cosines[feature * 39 + i]));
      expect(found).toHaveLength(feature === 7 ? 0 : 38);
      expect(found).not.toContain(7);
    }
    await engine.unloadSae("with a zero row");
  });

  it("find the features that point the same way", async () => {
    const oracle = new ReferenceSae(kinds["topk"]!);
    for (const side of ["decoder", "encoder"] as const) {
      const rows = Array.from({ length: 40 }, (_, f) => oracle.row(side === "decoder" ? oracle.sae.wDec : oracle.sae.wEnc, f));
      const cosine = (a: readonly number[], b: readonly number[]): number => a.reduce((sum, x, i) => sum + x * b[i]!, 0) / (Math.hypot(...a) * Math.hypot(...b));
      const wanted = rows.map((row, feature) => ({ feature, cosine: cosine(row, rows[6]!) })).filter(({ feature }) => feature !== 6).sort((a, b) => b.cosine - a.cosine);
      const found = await engine.nearest("topk", 6, { side, topK: 4 });
      expect(found.map(({ feature }) => feature)).toEqual(wanted.slice(0, 4).map(({ feature }) => feature));
      expect(found[0]!.cosine).toBeCloseTo(wanted[0]!.cosine, 5);
      const [itself] = await engine.nearest("topk", await engine.directions("topk", [6], side), { side });
      expect(itself).toMatchObject({ feature: 6 });
    }
  });

  it("over shared memory are used where they lie", async () => {
    const shared = Float32Array.from(kinds["topk"]!.wDec);
    const memory = new Float32Array(new SharedArrayBuffer(shared.byteLength));
    memory.set(shared);
    await engine.loadSae("shared", { ...kinds["topk"]!, wDec: memory });
    memory[0] = 12_345;
    expect((await engine.directions("shared", [0]))[0]).toBe(12_345);
    await engine.unloadSae("shared");
    expect(engine.saes()).not.toContain("shared");
    await expect(engine.directions("shared", [0])).rejects.toThrow("there is no such SAE loaded");
  });

  it.each<[string, Partial<LoadedSae>, string]>([
    ["another width", { dIn: 16, wEnc: new Float32Array(640), wDec: new Float32Array(640), bDec: new Float32Array(16) }, "d_in; got 16, wanted 32"],
    ["an unknown architecture", { architecture: "gated" }, "(got gated, wanted topk, standard, jumprelu"],
    ["an unfolded normalisation", { normalizeActivations: "expected_average_only_in" }, "normalize_activations; got expected_average_only_in"],
    ["no k", { k: undefined }, "needs k (got nothing, wanted an integer from 1 to 40"],
    ["a matrix of another size", { wEnc: new Float32Array(7) }, "W_enc does not fit d_sae and d_in (got 7 values, wanted 1280 values"],
    ["no threshold", { architecture: "jumprelu" }, "threshold does not fit d_sae and d_in (got 0 values, wanted 40 values"],
  ])("of %s are refused", async (_, change, message) => {
    await expect(engine.loadSae("bad", tinySae(change))).rejects.toThrow(message);
    expect(engine.saes()).not.toContain("bad");
  });

  it("are refused under a name that is taken", async () => {
    await expect(engine.loadSae("topk", tinySae())).rejects.toThrow("an SAE of this name is loaded");
  });
});

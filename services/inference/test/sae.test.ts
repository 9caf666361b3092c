import { readFileSync } from "node:fs";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { ConflictPolicy, SteeringMethod, StrengthUnit } from "@mistral-sae/contracts/mistral_sae/common/v1/intervention";
import { DataType } from "@mistral-sae/contracts/mistral_sae/common/v1/tensor";
import { type EncodeRequestSchema, type EncodeResponse, SaeSide, SaeState, ValidationPolicy } from "@mistral-sae/contracts/mistral_sae/sae/v1/sae";
import { Code, type RpcError } from "@mistral-sae/rpc";
import { loadSae, SaeCodec } from "@mistral-sae/sae";
import { f32View, rowBounds, u32View, unpackSparse } from "@mistral-sae/tensor";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { generate, idsOf, variantOf } from "./support/generate.ts";
import { f32, floats, ids } from "./support/messages.ts";
import { createSae, HOOK, SAE, writeResidualSae } from "./support/residual-sae.ts";
import { MODEL, removeData, startService, type TestService } from "./support/service.ts";

const golden = JSON.parse(readFileSync(new URL("fixtures/golden.json", import.meta.url), "utf8")) as { ids: number[] }[];
const sequences = golden.map((prompt) => ({ tokenIds: prompt.ids }));

let service: TestService;
let folder: string;
beforeAll(async () => {
  service = await startService();
  folder = await writeResidualSae(service);
  await createSae(service, "residual", folder);
});
afterAll(async () => {
  await service.stop();
  await removeData(service);
});

type Encode = MessageInitShape<typeof EncodeRequestSchema>;

async function encode(chunks: Encode[]): Promise<EncodeResponse[]> {
  const responses: EncodeResponse[] = [];
  const source = async function* () {
    yield* chunks;
  };
  for await (const response of service.saes.encode(source())) responses.push(response);
  return responses;
}

const codeOf = (response: EncodeResponse | undefined) => {
  if (response?.code === undefined) throw new Error("no code");
  return unpackSparse(response.code);
};

describe("CreateSae", () => {
  it("registers a fitting SAE as READY, with what its file and the check say", async () => {
    const { sae } = await service.saes.getSae({ name: SAE });
    expect(sae).toMatchObject({ hookName: HOOK, fileHookName: HOOK, dIn: 192, k: 32, architecture: "topk", state: SaeState.READY, contextSize: 128 });
    expect(sae?.wDecNormMean).toBeCloseTo(1, 4);
    expect(sae?.validation?.accepted).toBe(true);
    expect(sae?.validation?.fvu).toBeLessThan(0.6);
    expect(Object.keys(sae?.validation?.candidateFvu ?? {})).toHaveLength(4);
    expect(sae?.residNormMean).toBeGreaterThan(10);
    expect((await service.inference.getCapabilities({})).saes).toContain(SAE);
  });

  it("refuses a hook where another fits better, naming both", async () => {
    const error = (await createSae(service, "wrong", folder, { hookName: "blocks.3.hook_resid_post" }).catch((refused: unknown) => refused)) as Error;
    expect(error.message).toMatch(/the SAE fits blocks\.\d\.hook_resid_(pre|post) better than blocks\.3\.hook_resid_post; FVU: .*hook_name/);
    await expect(service.saes.getSae({ name: `${MODEL}/saes/wrong` })).rejects.toMatchObject({ code: Code.NotFound });
  });

  it("takes a wrong hook with a warning when told so", async () => {
    const sae = await createSae(service, "warned", folder, { hookName: "blocks.3.hook_resid_post", validate: ValidationPolicy.WARN });
    expect(sae.validation?.accepted).toBe(false);
    expect(sae.hookName).toBe("blocks.3.hook_resid_post");
    await service.saes.deleteSae({ name: sae.name, force: true });
  });

  it("refuses a name that is taken, a bad one, and a folder without an SAE", async () => {
    await expect(service.saes.createSae({ parent: MODEL, saeId: "residual", uri: folder })).rejects.toMatchObject({ code: Code.AlreadyExists });
    await expect(service.saes.createSae({ parent: MODEL, saeId: "No!", uri: folder })).rejects.toThrow(/sae_id: got "No!"/);
    const error = (await createSae(service, "none", service.data).catch((refused: unknown) => refused)) as Error;
    expect(error.message).toMatch(/holds no SAE|names no|sae_weights/);
  });

  it("is idempotent by request_id", async () => {
    const request = { parent: MODEL, saeId: "once", uri: folder, requestId: "b7e0", validate: ValidationPolicy.SKIP };
    const [first, second] = [await service.saes.createSae(request), await service.saes.createSae(request)];
    expect(second.operation?.name).toBe(first.operation?.name);
    await service.operations.waitOperation({ name: first.operation?.name ?? "" });
    expect((await service.saes.createSae(request)).operation?.name).toBe(first.operation?.name);
    await service.saes.deleteSae({ name: `${MODEL}/saes/once`, force: true });
  });
});

describe("Encode", () => {
  it("of sequences equals Encode of Forward's residuals, sequence after sequence", async () => {
    const [bySequence] = await encode([{ sae: SAE, input: { case: "sequences", value: { sequences } }, activationDtype: DataType.F32 }] );
    const rows: Float32Array[] = [];
    for (const [i, { tokenIds }] of sequences.entries()) {
      for await (const { tensor } of service.inference.forward({ prompts: [ids(tokenIds)], hookNames: [HOOK] })) {
        rows[i] = floats(tensor);
      }
    }
    const all = new Float32Array(rows.reduce((n, { length }) => n + length, 0));
    let at = 0;
    for (const values of rows) {
      all.set(values, at);
      at += values.length;
    }
    const residual = f32(all, [all.length / 192, 192]);
    const [byResidual] = await encode([{ sae: SAE, input: { case: "residual", value: residual }, activationDtype: DataType.F32 }] );
    const [a, b] = [codeOf(bySequence), codeOf(byResidual)];
    expect(a.nTokens).toBe(all.length / 192);
    expect(b.nTokens).toBe(a.nTokens);
    const dense = (code: typeof a) => {
      const out = new Float32Array(code.nTokens * code.dSae);
      for (let row = 0; row < code.nTokens; row++) {
        const from = code.rowOffsets?.[row] ?? row * code.k;
        const to = code.rowOffsets?.[row + 1] ?? (row + 1) * code.k;
        for (let i = from; i < to; i++) out[row * code.dSae + (code.indices[i] ?? 0)] = code.values[i] ?? 0;
      }
      return out;
    };
    const [x, y] = [dense(a), dense(b)];
    let worst = 0;
    for (const [i, value] of x.entries()) worst = Math.max(worst, Math.abs(value - (y[i] ?? 0)));
    expect(worst).toBeLessThan(1e-2);
  });

  it("tells the features ranked just below the k-th of every row, as the exact codec does", async () => {
    const near = 8;
    const [response] = await encode([{ sae: SAE, input: { case: "sequences", value: { sequences } }, activationDtype: DataType.F32, nearMisses: near }]);
    const code = codeOf(response);
    const missed = unpackSparse(response!.nearMisses!);
    const thresholds = f32View(response!.nearMissThresholds);
    const { sae } = await loadSae(folder);
    const { k = 0 } = sae.config;
    const codec = new SaeCodec({ ...sae, config: { ...sae.config, k: k + near } });
    let row = 0;
    const all = new SaeCodec({ ...sae, config: { ...sae.config, k: sae.config.dSae } });
    for (const { tokenIds } of sequences) {
      for await (const { tensor } of service.inference.forward({ prompts: [ids(tokenIds)], hookNames: [HOOK] })) {
        const deeper = codec.encodeRows(floats(tensor));
        const dense = all.encodeDense(floats(tensor));
        for (let at = 0; at < tokenIds.length; at++, row++) {
          const [start, end] = rowBounds(missed, row);
          const [from, to] = rowBounds(deeper, at);
          expect(end - start).toBe(Math.max(0, to - from - k));
          const fired = new Set(code.indices.subarray(...rowBounds(code, row)));
          for (let i = 0; i < end - start; i++) {
            expect(fired.has(missed.indices[start + i]!)).toBe(false);
            // Batches of other shapes round the last bits otherwise.
            expect(missed.values[start + i]).toBeCloseTo(deeper.values[from + k + i]!, 2);
            expect(thresholds[start + i]).toBeCloseTo(deeper.values[from + k - 1]!, 2);
            expect(missed.values[start + i]!).toBeLessThanOrEqual(thresholds[start + i]!);
            expect(missed.values[start + i]).toBeCloseTo(dense[at * missed.dSae + missed.indices[start + i]!]!, 2);
          }
        }
      }
    }
    expect(missed.nTokens).toBe(row);
    expect(missed.values.length).toBeGreaterThan(4 * row);
  });

  it("tells near-misses of the chunks that ask for them alone, of residuals too", async () => {
    const residual = f32(Float32Array.from({ length: 3 * 192 }, (_, i) => 20 * Math.sin(i * i)), [3, 192]);
    const chunk = (nearMisses: number): Encode => ({ sae: SAE, input: { case: "residual", value: residual }, nearMisses });
    const [without, with4] = await encode([chunk(0), chunk(4)]);
    expect(without?.nearMisses).toBeUndefined();
    expect(with4?.nearMisses).toMatchObject({ nTokens: 3, activationDtype: DataType.F32 });
    expect(with4?.code).toEqual(without?.code);
    await expect(encode([chunk(65)])).rejects.toMatchObject({ code: Code.InvalidArgument, message: expect.stringMatching(/near_misses: got 65, wanted at most 64/) as string });
  });

  it("answers many chunks in order, and ends with an error at a bad one", async () => {
    const chunk = (chunkId: number): Encode => ({ sae: chunkId === 0 ? SAE : "", chunkId: BigInt(chunkId), input: { case: "sequences", value: { sequences: sequences.slice(chunkId % 6, (chunkId % 6) + 1) } } });
    const responses = await encode(Array.from({ length: 12 }, (_, i) => chunk(i)));
    expect(responses.map(({ chunkId }) => Number(chunkId))).toEqual(Array.from({ length: 12 }, (_, i) => i));
    for (const [i, response] of responses.entries()) expect(response.code?.nTokens).toBe(sequences[i % 6]?.tokenIds.length);
    await expect(encode([chunk(0), { chunkId: 1n }] )).rejects.toMatchObject({ code: Code.InvalidArgument, message: expect.stringMatching(/input: is not set in chunk 1/) as string });
    await expect(encode([{ chunkId: 0n }] )).rejects.toThrow(/sae: is not set in the first chunk/);
  });

  it("and Decode bring a residual back as far as the SAE explains it", async () => {
    const [response] = await encode([{ sae: SAE, input: { case: "sequences", value: { sequences: sequences.slice(0, 1) } }, activationDtype: DataType.F32 }] );
    const source = async function* () {
      yield { sae: SAE, chunkId: 5n, ...(response?.code === undefined ? {} : { code: response.code }) };
    };
    for await (const { chunkId, residual } of service.saes.decode(source())) {
      expect(chunkId).toBe(5n);
      expect(residual?.shape).toEqual([15, 192]);
    }
  });
});

describe("the rows of an SAE", () => {
  it("come as asked for, and their nearest neighbours with the right cosine", async () => {
    const { directions } = await service.saes.getDirections({ sae: SAE, featureIndices: [4, 5] });
    expect(directions?.shape).toEqual([2, 192]);
    const values = floats(directions);
    // Feature 5 is feature 4 with the other sign.
    for (let d = 0; d < 192; d++) expect(values[192 + d]).toBeCloseTo(-(values[d] ?? 0), 5);
    const vector = f32(values.subarray(0, 192));
    const { neighbours } = await service.saes.nearestFeatures({ sae: SAE, query: { case: "vector", value: vector }, topK: 2 });
    expect(neighbours[0]).toMatchObject({ feature: { sae: SAE, featureIndex: 4 } });
    expect(neighbours[0]?.cosine).toBeCloseTo(1, 4);
    const own = await service.saes.nearestFeatures({ sae: SAE, query: { case: "featureIndex", value: 4 }, topK: 3 });
    expect(own.neighbours.map(({ feature }) => feature?.featureIndex)).not.toContain(4);
  });

  it("are compared with one another all at once", async () => {
    const { sae: described } = await service.saes.getSae({ name: SAE });
    const dSae = described!.dSae;
    for (const side of [SaeSide.DECODER, SaeSide.ENCODER]) {
      let at = 0;
      for await (const { featureStart, topK, featureIndices, cosines, norms } of service.saes.getFeatureNeighbours({ sae: SAE, side, topK: 3 })) {
        expect([featureStart, topK]).toEqual([at, 3]);
        expect(featureIndices?.shape).toEqual([norms?.shape[0], 3]);
        const own = await service.saes.nearestFeatures({ sae: SAE, side, query: { case: "featureIndex", value: at }, topK: 3 });
        // Rows of an orthonormal basis: which of the others come first is a matter of rounding.
        expect(own.neighbours).toHaveLength(3);
        for (const [i, { cosine }] of own.neighbours.entries()) expect(floats(cosines)[i]).toBeCloseTo(cosine, 4);
        expect(floats(norms)[0]).toBeCloseTo(1, 4);
        expect([...u32View(featureIndices!.data).subarray(0, 3)]).not.toContain(at);
        at += norms?.shape[0] ?? 0;
      }
      expect(at).toBe(dSae);
    }
    const read = async () => {
      for await (const _ of service.saes.getFeatureNeighbours({ sae: SAE, featureStart: dSae })) throw new Error("answered");
    };
    await expect(read()).rejects.toMatchObject({ code: Code.InvalidArgument });
  });

  it("name the tokens that they promote and suppress", async () => {
    for await (const message of service.saes.getFeatureLogits({ sae: SAE, featureStart: 2, featureEnd: 6, topK: 5 })) {
      expect(message).toMatchObject({ featureStart: 2, topK: 5 });
      const positive = floats(message.posLogits);
      const negative = floats(message.negLogits);
      // Feature 3 is feature 2 with the other sign: what one promotes the other suppresses.
      for (let i = 0; i < 5; i++) expect(negative[5 + i]).toBeCloseTo(-(positive[i] ?? 0), 3);
      expect([...u32View(message.negTokenIds?.data ?? new Uint8Array())].slice(5, 10)).toEqual([...u32View(message.posTokenIds?.data ?? new Uint8Array())].slice(0, 5));
    }
    const error = (await service.saes.getDirections({ sae: SAE, featureIndices: [256] }).catch((refused: unknown) => refused)) as RpcError;
    expect(error).toMatchObject({ reason: "FEATURE_OUT_OF_RANGE" });
  });
});

describe("steering by features", () => {
  const prompt = ids(golden[0]?.ids ?? []);
  const feature = { case: "feature" as const, value: { sae: SAE, featureIndex: 4 } };
  const sampling = { temperature: 0, maxTokens: 12 };

  it("sets an activation, which the trace shows from the hook's residual before the edit", async () => {
    const run = await generate(service, {
      prompt,
      sampling,
      trace: { sae: SAE, topK: 4 },
      captures: [{ hookName: HOOK, afterInterventions: true, positions: { generationAll: true } }],
      variants: [{ variantId: "baseline" }, { variantId: "set", interventions: [{ id: "up", target: feature, method: SteeringMethod.FEATURE_SET, strength: 30 }] }],
    });
    const set = variantOf(run, "set");
    // Each of the 12 tokens has been read, the last one for its trace.
    expect(set.finished).toMatchObject({ steeringAppliedSteps: 12, steeringExpectedSteps: 12 });
    expect(set.captured).toHaveLength(12);
    const all = [...(golden[0]?.ids ?? []), ...idsOf(variantOf(run))];
    const [response] = await encode([{ sae: SAE, input: { case: "sequences", value: { sequences: [{ tokenIds: all }] } }, activationDtype: DataType.F32 }] );
    const code = codeOf(response);
    for (const [i, { trace }] of variantOf(run).steps.entries()) {
      const got = trace === undefined ? undefined : unpackSparse(trace);
      const row = 15 + i;
      const from = code.rowOffsets?.[row] ?? row * code.k;
      expect([...(got?.indices ?? [])]).toEqual([...code.indices.subarray(from, from + 4)]);
      for (const [j, value] of (got?.values ?? []).entries()) expect(value).toBeCloseTo(code.values[from + j] ?? 0, 2);
    }
  });

  it("keeps the text bit by bit when a feature is held below a bound that it never reaches, and warns of it", async () => {
    const run = await generate(service, {
      prompt,
      sampling,
      withKl: true,
      variants: [{ variantId: "baseline" }, { variantId: "same", interventions: [{ target: feature, method: SteeringMethod.FEATURE_CLAMP, max: 1e6 }] }],
    });
    const same = variantOf(run, "same");
    expect(idsOf(same)).toEqual(idsOf(variantOf(run)));
    expect(same.steps.every(({ klFromBaseline }) => klFromBaseline === 0)).toBe(true);
    expect(same.finished?.warnings.join()).toMatch(/left all its \d+ rows as they were.*never differ/);
  });

  it("fills in every default of the interventions it reports", async () => {
    const run = await generate(service, { prompt, sampling: { temperature: 0, maxTokens: 2 }, variants: [{ variantId: "v", interventions: [{ target: feature, method: SteeringMethod.FEATURE_ADD, strength: 3 }] }] });
    expect(run.started.resolvedVariants[0]?.interventions[0]).toMatchObject({
      id: "i0",
      unit: StrengthUnit.RAW,
      keepErrorTerm: true,
      conflict: ConflictPolicy.ERROR,
      positions: { include: { promptAll: true, generationAll: true }, skipSpecialTokens: true },
      schedule: { schedule: { case: "constant", value: 1 } },
    });
  });

  it("splices the reconstruction in place of the residual", async () => {
    const request = { prompts: [prompt], hookNames: [HOOK] };
    const rows: Float32Array[] = [];
    for (const interventions of [[], [{ target: { case: "sae" as const, value: SAE }, method: SteeringMethod.RECONSTRUCT }]]) {
      for await (const { tensor } of service.inference.forward({ ...request, interventions })) rows.push(floats(tensor));
    }
    const [before, after] = rows;
    expect(after?.subarray(0, 192)).toEqual(before?.subarray(0, 192));
    expect(after?.subarray(192)).not.toEqual(before?.subarray(192));
  });
});

describe("the registry", () => {
  it("validates again on tokens given", async () => {
    const { validation } = await service.saes.validateSae({ name: SAE, sequences });
    expect(Number(validation?.nTokens)).toBe(sequences.reduce((n, { tokenIds }) => n + tokenIds.filter((id) => id > 4).length, 0));
    expect(validation?.l0).toBeGreaterThan(8);
  });

  it("unloads and loads, and refuses what is not loaded", async () => {
    const { sae } = await service.saes.unloadSae({ name: SAE });
    expect(sae?.state).toBe(SaeState.COLD);
    await expect(service.saes.getDirections({ sae: SAE, featureIndices: [0] })).rejects.toMatchObject({ code: Code.FailedPrecondition, reason: "SAE_NOT_LOADED" });
    expect((await service.saes.loadSae({ name: SAE })).sae?.state).toBe(SaeState.READY);
  });

  it("changes the hook of an entry, and nothing else", async () => {
    const { sae } = await service.saes.updateSae({ sae: { name: SAE, hookName: "blocks.1.hook_resid_post", hookOverrideReason: "the same place" }, updateFields: ["hook_name", "hook_override_reason"] });
    expect(sae).toMatchObject({ hookName: "blocks.1.hook_resid_post", fileHookName: HOOK, hookOverrideReason: "the same place" });
    await expect(service.saes.updateSae({ sae: { name: SAE }, updateFields: ["k"] })).rejects.toThrow(/update_fields: got "k"/);
    await service.saes.updateSae({ sae: { name: SAE, hookName: HOOK }, updateFields: ["hook_name"] });
  });

  it("is there again after a restart, with its SAEs loaded", async () => {
    await service.stop();
    service = await startService({ data: service.data });
    expect((await service.saes.getSae({ name: SAE })).sae?.state).toBe(SaeState.READY);
    expect((await service.saes.listSaes({ parent: MODEL })).saes.map(({ name }) => name)).toEqual([SAE]);
    expect((await service.saes.getDirections({ sae: SAE, featureIndices: [0] })).directions?.shape).toEqual([1, 192]);
  });

  it("refuses to forget a loaded SAE unless forced", async () => {
    await expect(service.saes.deleteSae({ name: SAE })).rejects.toMatchObject({ reason: "SAE_LOADED" });
    await service.saes.deleteSae({ name: SAE, force: true });
    expect((await service.saes.listSaes({})).saes).toEqual([]);
  });
});

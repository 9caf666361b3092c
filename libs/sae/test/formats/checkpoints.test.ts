import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { denseOf, loadSae, SaeCodec, type SaeWeights, writeSae } from "../../src/index.ts";
import { assemble, fixture, largestDifference, noise, randomSae, readIo, temporaryFolder } from "../support.ts";
import { f32Tensor, i64Tensor, type TestValue, torchFile } from "./torch/writing.ts";

const temporary = temporaryFolder();
const x = noise(5 * 6, 9).map((value) => value * 3);
let folders = 0;

/** A dictionary_learning folder. */
async function trainerFolder(values: Readonly<Record<string, TestValue>>, trainer?: object): Promise<string> {
  const folder = await temporary(`trainer_${folders++}`);
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, "ae.pt"), torchFile(values));
  if (trainer !== undefined) await writeFile(join(folder, "config.json"), JSON.stringify({ trainer, buffer: {} }));
  return folder;
}

function transposed(matrix: Float32Array, rows: number, columns: number): Float32Array {
  return Float32Array.from({ length: matrix.length }, (_, at) => matrix[(at % rows) * columns + Math.floor(at / rows)]!);
}

/** The tensors of an SAE in the layouts that torch programs use. */
function parts(sae: SaeWeights): Record<"rowsEnc" | "colsEnc" | "rowsDec" | "colsDec" | "bEnc" | "bDec", TestValue> {
  const { dIn, dSae } = sae.config;
  return {
    rowsEnc: f32Tensor(sae.wEnc, [dSae, dIn]),
    colsEnc: f32Tensor(transposed(sae.wEnc, dSae, dIn), [dIn, dSae]),
    rowsDec: f32Tensor(sae.wDec, [dSae, dIn]),
    colsDec: f32Tensor(transposed(sae.wDec, dSae, dIn), [dIn, dSae]),
    bEnc: f32Tensor(sae.bEnc, [dSae]),
    bDec: f32Tensor(sae.bDec, [dIn]),
  };
}

function expectSameFunction(got: SaeWeights, wanted: SaeWeights): void {
  expect(new SaeCodec(got).encodeDense(x)).toEqual(new SaeCodec(wanted).encodeDense(x));
  expect(new SaeCodec(got).reconstruct(x)).toEqual(new SaeCodec(wanted).reconstruct(x));
}

describe("dictionary_learning folders", () => {
  test("that the program itself wrote give its activations and reconstructions, also after conversion", async () => {
    const { sae, source } = await loadSae(await assemble(await temporary("theirs"), { "ae.pt": fixture("dictionary_learning_topk/ae.pt") }));
    expect(source.warnings).toEqual([expect.stringContaining("read as AutoEncoderTopK"), expect.stringContaining("no hook")]);
    const { x: rows, featureActs, reconstruction } = await readIo("dictionary_learning_topk");
    await writeSae(await temporary("converted"), sae);
    for (const one of [sae, (await loadSae(await temporary("converted"))).sae]) {
      const codec = new SaeCodec(one);
      const codes = codec.encodeRows(rows);
      expect(largestDifference(denseOf(codes), featureActs)).toBeLessThan(1e-5);
      expect(largestDifference(codec.decodeRows(codes, codes.stats), reconstruction)).toBeLessThan(1e-5);
    }
  });

  test("of every class compute what the class computes", async () => {
    const plain = randomSae();
    const p = parts(plain);
    const linear = { "encoder.weight": p.rowsEnc, "decoder.weight": p.colsDec };
    const threshold = noise(10, 70).map((value) => Math.abs(value));
    const one = (value: number): TestValue => f32Tensor(Float32Array.of(value), []);
    const constant = new Float32Array(10).fill(0.4);
    const gated = randomSae({ architecture: "gated" });
    const cases: [string, Record<string, TestValue>, SaeWeights][] = [
      ["AutoEncoderNew", { ...linear, "encoder.bias": p.bEnc, "decoder.bias": p.bDec }, { ...plain, config: { ...plain.config, applyBDecToInput: false } }],
      ["GatedAutoEncoder", { ...linear, decoder_bias: p.bDec, r_mag: f32Tensor(gated.gate!.rMag, [10]), gate_bias: f32Tensor(gated.gate!.bGate, [10]), mag_bias: f32Tensor(gated.gate!.bMag, [10]) }, gated],
      ["JumpReluAutoEncoder", { W_enc: p.colsEnc, b_enc: p.bEnc, W_dec: p.rowsDec, b_dec: p.bDec, threshold: f32Tensor(threshold, [10]) }, { ...plain, threshold, config: { ...plain.config, architecture: "jumprelu", applyBDecToInput: false } }],
      ["AutoEncoderTopK", { ...linear, "encoder.bias": p.bEnc, b_dec: p.bDec, k: i64Tensor([3], []), threshold: one(-1) }, { ...plain, config: { ...plain.config, architecture: "topk", k: 3 } }],
      ["BatchTopKSAE", { ...linear, "encoder.bias": p.bEnc, b_dec: p.bDec, k: i64Tensor([3], []), threshold: one(0.4) }, { ...plain, threshold: constant, config: { ...plain.config, architecture: "jumprelu" } }],
      ["MatryoshkaBatchTopKSAE", { W_enc: p.colsEnc, b_enc: p.bEnc, W_dec: p.rowsDec, b_dec: p.bDec, k: i64Tensor([3], []), threshold: one(0.4), group_sizes: i64Tensor([4, 6], [2]) }, { ...plain, threshold: constant, config: { ...plain.config, architecture: "jumprelu" } }],
    ];
    for (const [dictClass, values, wanted] of cases) {
      const { sae } = await loadSae(await trainerFolder(values, { dict_class: dictClass, k: 3, lm_name: "m", submodule_name: "resid_post_layer_5" }));
      expect(sae.config.metadata).toEqual({ hook_name: "blocks.5.hook_resid_post", model_name: "m", submodule_name: "resid_post_layer_5", dict_class: dictClass });
      expectSameFunction(sae, wanted);
    }
  });

  test("of the class AutoEncoder get unit decoder rows and keep their reconstructions", async () => {
    const plain = randomSae();
    const p = parts(plain);
    const { sae } = await loadSae(await trainerFolder({ "encoder.weight": p.rowsEnc, "encoder.bias": p.bEnc, "decoder.weight": p.colsDec, bias: p.bDec }, { dict_class: "AutoEncoder" }));
    expect(largestDifference(new SaeCodec(sae).reconstruct(x), new SaeCodec(plain).reconstruct(x))).toBeLessThan(1e-5);
    expect(Math.hypot(...sae.wDec.subarray(0, 6))).toBeCloseTo(1, 6);
  });

  test("are refused when class, k or threshold are wrong", async () => {
    const p = parts(randomSae());
    const topk = { "encoder.weight": p.rowsEnc, "decoder.weight": p.colsDec, "encoder.bias": p.bEnc, b_dec: p.bDec, k: i64Tensor([3], []), threshold: f32Tensor(Float32Array.of(-1), []) };
    await expect(loadSae(await trainerFolder(topk, { dict_class: "CrossCoder" }))).rejects.toThrow(/dict_class; got CrossCoder/);
    await expect(loadSae(await trainerFolder(topk, { dict_class: "BatchTopKSAE" }))).rejects.toThrow(/threshold was estimated|threshold.*got -1, wanted at least 0/);
    await expect(loadSae(await trainerFolder(topk, { dict_class: "AutoEncoderTopK", k: 4 }))).rejects.toThrow(/got 3 and 4/);
    await expect(loadSae(await trainerFolder({ ...topk, extra: p.bDec }, { dict_class: "AutoEncoderTopK" }))).rejects.toThrow(/unknown tensor "extra"/);
    await expect(loadSae(await trainerFolder({ ...topk, note: "text" }))).rejects.toThrow(/"note" that is no tensor/);
    await expect(loadSae(await trainerFolder({ W: p.rowsEnc }))).rejects.toThrow(/no class known here/);
    await expect(loadSae(await trainerFolder(topk), { scalingFactor: 2 })).rejects.toThrow(/takes no such option.*scaling_factor/);
  });
});

describe("state dicts of one file", () => {
  const plain = randomSae();
  const p = parts(plain);

  test("of OpenAI's program are top-k with layer norm, or plain ReLU without", async () => {
    const tensors = { "encoder.weight": p.rowsEnc, "decoder.weight": p.colsDec, latent_bias: p.bEnc, pre_bias: p.bDec, stats_last_nonzero: i64Tensor(Array.from({ length: 10 }, () => 0), [10]) };
    const write = async (name: string, values: Record<string, TestValue>): Promise<string> => {
      const path = await temporary(name);
      await writeFile(path, torchFile(values));
      return path;
    };
    await mkdir(await temporary("."), { recursive: true });
    const topk = await loadSae(await write("16.pt", { ...tensors, activation: "TopK", activation_state_dict: { dict: { k: 3, postact_fn: "ReLU" } }, "activation.k": 3, "activation.postact_fn": "ReLU" }));
    expect(topk.source.format).toBe("openai");
    expectSameFunction(topk.sae, { ...plain, config: { ...plain.config, architecture: "topk", k: 3, normalizeActivations: "layer_norm" } });
    expectSameFunction((await loadSae(await write("relu.pt", { ...tensors, activation: "ReLU" }))).sae, plain);
    await expect(loadSae(await write("id.pt", { ...tensors, activation: "Identity" }))).rejects.toThrow(/got Identity, wanted TopK or ReLU/);
    await expect(loadSae(await write("nok.pt", { ...tensors, activation: "TopK" }))).rejects.toThrow(/activation_state_dict\.k; got nothing/);
    await expect(loadSae(await write("post.pt", { ...tensors, activation: "TopK", activation_state_dict: { dict: { k: 3, postact_fn: "Identity" } } }))).rejects.toThrow(/got Identity, wanted ReLU/);
    await expect(loadSae(await write("other.pt", { weird: p.bDec }))).rejects.toThrow(/no SAE known here/);
  });

  test("of the original trainer need k, and are found as the one .pt of a folder", async () => {
    const folder = await temporary("original");
    await mkdir(folder, { recursive: true });
    await writeFile(join(folder, "ckpt.pt"), torchFile({ w_enc: p.colsEnc, w_dec: p.rowsDec, b_enc: p.bEnc, b_pre: p.bDec, stats_last_nonzero: i64Tensor(Array.from({ length: 10 }, () => 1), [10]) }));
    await expect(loadSae(folder)).rejects.toThrow(/got nothing, wanted k given when loading/);
    const { sae, source } = await loadSae(folder, { k: 4 });
    expect(source.format).toBe("mistral-sae");
    expectSameFunction(sae, { ...plain, config: { ...plain.config, architecture: "topk", k: 4, normalizeActivations: "layer_norm" } });
  });
});

import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { bytesFromF32, InputError, tensorOf, type Tensor, writeSafetensors } from "@mistral-sae/tensor";
import { describe, expect, test } from "vitest";
import { loadSae, type LoadSaeOptions, type SaeConfig, SaeCodec, type SaeWeights, writeSae } from "../../src/index.ts";
import { largestDifference, noise, randomSae, temporaryFolder } from "../support.ts";

const temporary = temporaryFolder();
let folders = 0;

const CFG = {
  architecture: "standard",
  d_in: 6,
  d_sae: 10,
  dtype: "float32",
  apply_b_dec_to_input: true,
  normalize_activations: "none",
  reshape_activations: "none",
  metadata: { sae_lens_version: "6.54.12", hook_name: "blocks.1.hook_resid_post", mine: { deep: [1] } },
};

/** The tensors of a SAE as SAELens lays them out: W_enc is [d_in, d_sae]. */
function stored(sae: SaeWeights): Record<string, Tensor> {
  const { dIn, dSae } = sae.config;
  const wEnc = new Float32Array(dIn * dSae);
  for (let f = 0; f < dSae; f++) for (let i = 0; i < dIn; i++) wEnc[i * dSae + f] = sae.wEnc[f * dIn + i]!;
  return { W_enc: tensorOf(wEnc, [dIn, dSae]), b_enc: tensorOf(sae.bEnc), W_dec: tensorOf(sae.wDec, [dSae, dIn]), b_dec: tensorOf(sae.bDec) };
}

async function folderOf(cfg: object | string, tensors: Record<string, Tensor> = stored(randomSae())): Promise<string> {
  const folder = await temporary(`f${folders++}`);
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, "cfg.json"), typeof cfg === "string" ? cfg : JSON.stringify(cfg));
  await writeSafetensors(join(folder, "sae_weights.safetensors"), tensors);
  return folder;
}

async function load(cfg: object, tensors?: Record<string, Tensor>, options?: LoadSaeOptions): Promise<SaeWeights> {
  return (await loadSae(await folderOf(cfg, tensors), options)).sae;
}

const x = noise(5 * 6, 99).map((value) => value * 3);
const run = (sae: SaeWeights, rows: Float32Array = x): { acts: Float32Array; reconstruction: Float32Array } => {
  const codec = new SaeCodec(sae);
  return { acts: codec.encodeDense(rows), reconstruction: codec.reconstruct(rows) };
};

describe("SAELens folders", () => {
  test("load in every half type, and are written again without a change", async () => {
    const sae = randomSae();
    for (const [dtype, name] of [["F16", "float16"], ["BF16", "bfloat16"]] as const) {
      const tensors = Object.fromEntries(Object.entries(stored(sae)).map(([key, tensor]) => [key, { ...tensor, dtype, data: bytesFromF32(dtype, new Float32Array(tensor.data.buffer)) }]));
      const loaded = await load({ ...CFG, dtype: `torch.${name}` }, tensors);
      expect(loaded.config.dtype).toBe(name);
      const folder = await temporary(`half-${name}`);
      await writeSae(folder, loaded);
      expect((await loadSae(folder)).sae).toEqual(loaded);
    }
  });

  test("of every architecture survive writing and reading", async () => {
    const transcoder = { dOut: 4, applyBDecToInput: false };
    const kinds: readonly (readonly [string, Partial<SaeConfig>])[] = [
      ...(["standard", "topk", "abstopk", "jumprelu", "gated"] as const).map((architecture) => [architecture, { architecture, ...(architecture.endsWith("topk") ? { k: 3 } : {}) }] as const),
      ["matching_pursuit", { architecture: "matching_pursuit", matchingPursuit: { residualThreshold: 0.25, stopOnDuplicateSupport: false, maxIterations: 4 } }],
      ["transcoder", transcoder],
      ["skip_transcoder", { ...transcoder, skipConnection: true }],
      ["jumprelu_transcoder", { ...transcoder, architecture: "jumprelu" }],
      ["jumprelu_skip_transcoder", { ...transcoder, architecture: "jumprelu", skipConnection: true }],
    ];
    for (const [architecture, changes] of kinds) {
      const sae = randomSae({ ...changes, metadata: { sae_lens_version: "6.54.12", odd: null, more: { a: [1, "b"] } } });
      const folder = await temporary(`kind-${architecture}`);
      expect(JSON.parse((await writeSae(folder, sae)).cfgJson)).toMatchObject({ architecture });
      expect((await loadSae(folder)).sae).toEqual(sae);
    }
  });

  test("with log_threshold, of SAELens before 6.48, take its exponential", async () => {
    const threshold = Float32Array.from({ length: 10 }, (_, f) => 0.1 * f + 0.05);
    const tensors = { ...stored(randomSae()), log_threshold: tensorOf(threshold.map((value) => Math.log(value))) };
    const sae = await load({ ...CFG, architecture: "jumprelu" }, tensors);
    expect(largestDifference(sae.threshold!, threshold)).toBeLessThan(1e-6);
  });

  test("that expect scaled rows give what the bare SAE gives on scaled rows", async () => {
    const scale = 0.37;
    const bare = randomSae();
    const cfg = { ...CFG, normalize_activations: "expected_average_only_in" };
    const wanted = run(bare, x.map((value) => value * scale));
    const given = run(await load(cfg, undefined, { scalingFactor: scale }));
    expect(largestDifference(given.acts, wanted.acts)).toBeLessThan(1e-5);
    expect(largestDifference(given.reconstruction, wanted.reconstruction.map((value) => value / scale))).toBeLessThan(1e-5);
    const folder = await folderOf(cfg);
    await writeFile(join(folder, "activation_scaler.json"), JSON.stringify({ scaling_factor: scale, has_whitening: false }));
    expect((await loadSae(folder)).sae.wEnc).toEqual((await load(cfg, undefined, { scalingFactor: scale })).wEnc);
    await expect(load(cfg)).rejects.toThrow(/normalize_activations; got expected_average_only_in without a factor/);
    await expect(load(CFG, undefined, { scalingFactor: scale })).rejects.toThrow(/got none, wanted expected_average_only_in/);
  });

  test("that expect whitened rows give what the bare SAE gives on whitened rows", async () => {
    for (const architecture of ["standard", "gated"] as const) {
      for (const subtract of [true, false]) {
        const bare = randomSae({ architecture, applyBDecToInput: subtract });
        const mean = noise(6, 40);
        const diagonal = Float32Array.from({ length: 6 }, (_, i) => 0.5 + i * 0.3);
        const matrix = new Float32Array(36);
        const inverse = new Float32Array(36);
        // A rotation in the plane of the first two coordinates, then a stretch.
        const [cos, sin] = [Math.cos(0.7), Math.sin(0.7)];
        const rotation = (i: number, j: number): number => (i < 2 && j < 2 ? (i === j ? cos : i < j ? -sin : sin) : i === j ? 1 : 0);
        for (let i = 0; i < 6; i++) for (let j = 0; j < 6; j++) {
          matrix[i * 6 + j] = rotation(i, j) * diagonal[j]!;
          inverse[i * 6 + j] = rotation(j, i) / diagonal[i]!;
        }
        const times = (rows: Float32Array, m: Float32Array): Float32Array => rows.map((_, at) => m.reduce((sum, value, e) => (e % 6 === at % 6 ? sum + rows[at - (at % 6) + Math.floor(e / 6)]! * value : sum), 0));
        const whitened = times(x.map((value, at) => value - mean[at % 6]!), matrix);
        const wanted = run(bare, whitened);
        const gate = bare.gate === undefined ? {} : { b_gate: tensorOf(bare.gate.bGate), b_mag: tensorOf(bare.gate.bMag), r_mag: tensorOf(bare.gate.rMag) };
        const { b_enc, ...rest } = stored(bare);
        const folder = await folderOf({ ...CFG, architecture, apply_b_dec_to_input: subtract, normalize_activations: "covariance_whitening" }, { ...rest, ...(architecture === "gated" ? gate : { b_enc: b_enc! }) });
        await expect(loadSae(folder)).rejects.toThrow(/got covariance_whitening, wanted activation_whitening\.safetensors/);
        await writeSafetensors(join(folder, "activation_whitening.safetensors"), { mean: tensorOf(Float64Array.from(mean)), matrix: tensorOf(matrix, [6, 6]), inverse_matrix: tensorOf(inverse, [6, 6]) });
        const got = run((await loadSae(folder)).sae);
        expect(largestDifference(got.acts, wanted.acts)).toBeLessThan(1e-5);
        expect(largestDifference(got.reconstruction, times(wanted.reconstruction, inverse).map((value, at) => value + mean[at % 6]!))).toBeLessThan(1e-5);
      }
    }
  });

  test("of a batchtopk checkpoint become jumprelu with its one threshold, in the units of the scaled activations", async () => {
    const bare = randomSae();
    const norms = Float32Array.from({ length: 10 }, (_, f) => Math.hypot(...bare.wDec.subarray(f * 6, (f + 1) * 6)));
    const tensors = { ...stored(bare), topk_threshold: tensorOf(Float64Array.of(0.8), []) };
    for (const rescale of [true, false]) {
      const sae = await load({ ...CFG, architecture: "batchtopk", k: 2.5, rescale_acts_by_decoder_norm: rescale }, tensors);
      expect(sae.config).toMatchObject({ architecture: "jumprelu", rescaleActsByDecoderNorm: false, metadata: { training_architecture: "batchtopk" } });
      const dense = new SaeCodec(bare).encodeDense(x).map((value, at) => value * (rescale ? norms[at % 10]! : 1));
      expect(largestDifference(new SaeCodec(sae).encodeDense(x), dense.map((value) => (value > Math.fround(0.8) ? value : 0)))).toBeLessThan(1e-5);
    }
    const scaled = await load({ ...CFG, architecture: "batchtopk", normalize_activations: "expected_average_only_in" }, tensors, { scalingFactor: 4 });
    expect(scaled.threshold![0]).toBeCloseTo(0.2, 6);
  });
});

describe("legacy SAELens folders", () => {
  const FLAT = { architecture: "standard", d_in: 6, d_sae: 10, hook_point: "blocks.3.hook_resid_pre", hook_point_head_index: null, model_name: "m", normalize_activations: false };

  test("take the old names and the old defaults", async () => {
    const sae = await load(FLAT);
    expect(sae.config).toMatchObject({ architecture: "standard", applyBDecToInput: true, normalizeActivations: "none", metadata: { hook_name: "blocks.3.hook_resid_pre", prepend_bos: true, model_name: "m" } });
    expect((await load({ ...FLAT, hook_point: "blocks.3.attn.hook_z" })).config.reshapeActivations).toBe("hook_z");
    await expect(load({ ...FLAT, normalize_activations: true })).rejects.toThrow(/expected_average_only_in without a factor/);
    await expect(load({ ...FLAT, activation_fn_str: "tanh-relu" })).rejects.toThrow(/activation_fn; got tanh-relu, wanted relu or topk/);
    await expect(load({ ...FLAT, activation_fn: "topk" })).rejects.toThrow(/activation_fn_kwargs\.k/);
  });

  test("drop a scaling factor of ones, fold an announced one into the decoder, and are refused with another", async () => {
    const ones = { ...stored(randomSae()), scaling_factor: tensorOf(new Float32Array(10).fill(1)) };
    expect((await load(FLAT, ones)).wDec).toEqual(randomSae().wDec);
    const twos = { ...stored(randomSae()), scaling_factor: tensorOf(new Float32Array(10).fill(2)) };
    expect((await load({ ...FLAT, finetuning_scaling_factor: true }, twos)).wDec).toEqual(randomSae().wDec.map((value) => value * 2));
    await expect(load(FLAT, twos)).rejects.toThrow(/scaling_factor\[0\]; got 2, wanted 1, or finetuning_scaling_factor true/);
  });
});

describe("a wrong SAELens folder is refused naming file, field, got and wanted", () => {
  const base = stored(randomSae());
  const without = (name: string): Record<string, Tensor> => Object.fromEntries(Object.entries(base).filter(([key]) => key !== name));
  const cases: [string, object | string, Record<string, Tensor>, RegExp][] = [
    ["unknown architecture", { ...CFG, architecture: "sparse" }, base, /architecture is not valid.*got sparse, wanted one of standard, topk/],
    ["a temporal SAE", { ...CFG, architecture: "temporal" }, base, /temporal SAEs cannot be loaded.*cfg\.json/],
    ["a transcoder that centres its input", { ...CFG, architecture: "transcoder", d_out: 4 }, base, /apply_b_dec_to_input.*got true, wanted false/],
    ["a transcoder without its output's width", { ...CFG, architecture: "skip_transcoder", apply_b_dec_to_input: false }, base, /d_out.*got nothing, wanted a value/],
    ["no architecture", { ...CFG, architecture: undefined }, base, /architecture.*got nothing, wanted a value/],
    ["unknown normalisation", { ...CFG, normalize_activations: "batch_norm" }, base, /got batch_norm, wanted one of none, layer_norm/],
    ["unknown reshaping", { ...CFG, reshape_activations: "hook_q" }, base, /got hook_q, wanted one of none, hook_z/],
    ["unknown dtype", { ...CFG, dtype: "int8" }, base, /got int8, wanted float32/],
    ["a width that is no number", { ...CFG, d_in: "6" }, base, /d_in.*got 6, wanted a whole number/],
    ["no width", { ...CFG, d_sae: null }, base, /d_sae.*got null, wanted a value/],
    ["topk without k", { ...CFG, architecture: "topk" }, base, /got nothing, wanted a value/],
    ["k above d_sae", { ...CFG, architecture: "topk", k: 11 }, base, /got 11, wanted 1 to 10/],
    ["k that is not whole", { ...CFG, architecture: "topk", k: 2.5 }, base, /got 2\.5, wanted a whole number/],
    ["a flag that is no flag", { ...CFG, apply_b_dec_to_input: 1 }, base, /got 1, wanted true or false/],
    ["a missing tensor", CFG, without("b_enc"), /no tensor "b_enc".*sae_weights\.safetensors/],
    ["an extra tensor", CFG, { ...base, W_skip: tensorOf(new Float32Array(36), [6, 6]) }, /unknown tensor "W_skip".*got shape \[6, 6\], wanted only W_enc/],
    ["a wrong shape", CFG, { ...base, W_enc: tensorOf(new Float32Array(60), [10, 6]) }, /"W_enc" has the wrong shape.*got \[10, 6\], wanted \[6, 10\] \(architecture standard, d_in 6, d_sae 10/],
    ["jumprelu without thresholds", { ...CFG, architecture: "jumprelu" }, base, /got none, wanted threshold, or log_threshold/],
    ["a value that is not finite", CFG, { ...base, b_dec: tensorOf(Float32Array.of(1, 2, NaN, 4, 5, 6)) }, /b_dec\[2\]; got NaN, wanted a finite number/],
    ["integers as weights", CFG, { ...base, b_dec: tensorOf(new Int32Array(6)) }, /b_dec\.dtype; got I32/],
    ["a cfg.json that is not JSON", "{", base, /cfg\.json/],
    ["a cfg.json with a key twice", '{"k":1,"k":2}', base, /"k" occurs twice/],
    ["a cfg.json that is a list", "[]", base, /got an array, wanted an object/],
  ];
  test.each(cases)("%s", async (_name, cfg, tensors, message) => {
    const folder = await folderOf(cfg, tensors);
    const error: unknown = await loadSae(folder).then(() => undefined, (reason: unknown) => reason);
    expect(error).toBeInstanceOf(InputError);
    expect(error).toMatchObject({ file: expect.stringContaining(folder), message: expect.stringMatching(message) });
  });

  test("no folder, an empty one, a folder of SAEs and one without cfg.json", async () => {
    await expect(loadSae(await temporary("nowhere"))).rejects.toThrow(/no such folder/);
    await mkdir(await temporary("empty"));
    await expect(loadSae(await temporary("empty"))).rejects.toThrow(/got an empty folder/);
    await mkdir(await temporary("several/layers.1"), { recursive: true });
    await writeFile(await temporary("several/layers.1/cfg.json"), "{}");
    await expect(loadSae(await temporary("several"))).rejects.toThrow(/several SAEs.*wanted .*several\/layers\.1/);
    await writeSafetensors(await temporary("bare/sae_weights.safetensors"), base);
    await expect(loadSae(await temporary("bare"))).rejects.toThrow(/no such file.*cfg\.json/);
  });

  test("what SAELens cannot express is not written", async () => {
    await expect(writeSae(await temporary("groupmax"), randomSae({ architecture: "groupmax", k: 2 }))).rejects.toThrow(/groupmax/);
    await expect(writeSae(await temporary("topk-transcoder"), randomSae({ architecture: "topk", k: 2, dOut: 6, applyBDecToInput: false }))).rejects.toThrow(/got topk transcoder, wanted .*sparsify/);
    await expect(writeSae(await temporary("skip"), randomSae({ architecture: "topk", k: 2, skipConnection: true }))).rejects.toThrow(/no topk autoencoder with a skip connection/);
    const sae = randomSae();
    sae.wDec[3] = Infinity;
    await expect(writeSae(await temporary("infinite"), sae)).rejects.toThrow(/W_dec\[3\]/);
  });
});

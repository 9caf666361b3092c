import { openSafetensors, sha256File } from "@mistral-sae/tensor";
import { describe, expect, test } from "vitest";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { denseOf, foldDecoderNorms, loadSae, newRowStats, type SaeConfig, SaeCodec, type SaeWeights, setFeatures, writeSae } from "../../src/index.ts";
import { assemble, fixture, largestDifference, readIo, temporaryFolder } from "../support.ts";

const TOLERANCE = 1e-5;
const temporary = temporaryFolder();

/** How far an SAE is from a fixture's encoder input, activations and reconstructions: the largest difference. */
async function mismatch(sae: SaeWeights, io: string): Promise<number> {
  const { x, featureActs, reconstruction, saeIn } = await readIo(io);
  const codec = new SaeCodec(sae);
  const codes = codec.encodeRows(x);
  const prepared = new Float32Array(x.length);
  codec.prepare(x, prepared, newRowStats(codes.nTokens));
  return Math.max(
    largestDifference(denseOf(codes), featureActs),
    largestDifference(codec.decodeRows(codes, codes.stats), reconstruction),
    saeIn === undefined ? 0 : largestDifference(prepared, saeIn),
  );
}

/** Small folders of further kinds, and what they are read as. */
const WRITTEN_BY = [
  ["topk_layer_norm_rescale", "", { architecture: "topk", k: 9, normalizeActivations: "layer_norm", rescaleActsByDecoderNorm: true }],
  ["gated_constant_norm_rescale_no-b_dec", "", { architecture: "gated", normalizeActivations: "constant_norm_rescale", applyBDecToInput: false }],
  ["jumprelu_skip_transcoder_layer_norm", "", { architecture: "jumprelu", dIn: 12, dOut: 10, skipConnection: true, metadata: { hook_name_out: "blocks.1.hook_mlp_out" } }],
  ["matching_pursuit_none", "", { architecture: "matching_pursuit", matchingPursuit: { residualThreshold: 0.01, stopOnDuplicateSupport: true } }],
  ["training_batchtopk_covariance_whitening_rescale", "", { architecture: "jumprelu", normalizeActivations: "none" }],
  ["training_jumprelu_expected_average_only_in", "", { architecture: "jumprelu", normalizeActivations: "none" }],
  ["sparsify_groupmax_transcode_skip_float32", "layers.1.mlp", { architecture: "groupmax", k: 8, dOut: 12, skipConnection: true }],
  ["sparsify_topk_skip_bfloat16", "layers.1", { architecture: "topk", skipConnection: true, dtype: "bfloat16" }],
  ["AutoEncoder_ae.pt", "", { architecture: "standard", applyBDecToInput: true }],
  ["MatryoshkaBatchTopKSAE_ae.pt", "", { architecture: "jumprelu" }],
  ["GatedAutoEncoder_bfloat16", "", { architecture: "gated", dtype: "bfloat16" }],
] as const satisfies readonly (readonly [string, string, Partial<SaeConfig>])[];

describe("folders that other programs wrote give their activations and reconstructions", () => {
  test("SAELens topk with rescaled activations", async () => {
    const { sae, source } = await loadSae(fixture("topk"));
    expect(sae.config).toMatchObject({ architecture: "topk", k: 8, dIn: 64, dSae: 512, rescaleActsByDecoderNorm: true, metadata: { hook_name: "blocks.16.hook_resid_post", num_dead_features: 161 } });
    expect(source).toMatchObject({ format: "saelens", warnings: [] });
    expect(await mismatch(sae, "topk")).toBeLessThan(TOLERANCE);
    expect(await mismatch(foldDecoderNorms(sae), "topk")).toBeLessThan(TOLERANCE);
  });

  test("SAELens topk as a training checkpoint, its decoder norms not folded", async () => {
    const { sae } = await loadSae(fixture("topk/training_checkpoint"));
    expect(await mismatch(sae, "topk")).toBeLessThan(TOLERANCE);
    const folded = foldDecoderNorms(sae);
    expect(folded.config.rescaleActsByDecoderNorm).toBe(false);
    expect(await mismatch(folded, "topk")).toBeLessThan(TOLERANCE);
  });

  test("SAELens standard, folded and as a training checkpoint", async () => {
    expect(await mismatch((await loadSae(fixture("standard"))).sae, "standard")).toBeLessThan(TOLERANCE);
    const checkpoint = await assemble(await temporary("standard-checkpoint"), { "cfg.json": fixture("standard/training_checkpoint/cfg.json"), "sae_weights.safetensors": fixture("standard/sae_weights.safetensors") });
    expect(await mismatch((await loadSae(checkpoint)).sae, "standard")).toBeLessThan(TOLERANCE);
  });

  test("SAELens topk with layer_norm", async () => {
    expect(await mismatch((await loadSae(fixture("topk_layer_norm_noaux"))).sae, "topk_layer_norm_noaux")).toBeLessThan(TOLERANCE);
  });

  test.each(WRITTEN_BY)("%s, read as %o", async (name, inner, wanted) => {
    const { sae } = await loadSae(fixture("written_by", name, inner));
    expect(sae.config).toMatchObject(wanted);
    expect(await mismatch(sae, `written_by/${name}`)).toBeLessThan(TOLERANCE);
  });

  test("the published Mistral-7B SAE's legacy form: topk from its activation function, whatever its architecture says", async () => {
    const folder = await legacyFolder();
    const { sae, source } = await loadSae(folder);
    expect(source.format).toBe("saelens-legacy");
    expect(sae.config).toMatchObject({ architecture: "topk", k: 8, normalizeActivations: "layer_norm", rescaleActsByDecoderNorm: false });
    expect(await mismatch(sae, "legacy_topk_layer_norm_tylercosgrove")).toBeLessThan(TOLERANCE);
  });

  test("the original trainer's weights in legacy form, and its clamp on features that did not fire", async () => {
    const { sae } = await loadSae(fixture("seed_as_saelens_legacy"));
    expect(await mismatch(sae, "seed_as_saelens_legacy")).toBeLessThan(TOLERANCE);
    await using clamp = await openSafetensors(fixture("seed_as_saelens_legacy/clamp.safetensors"));
    const features = new BigInt64Array((await clamp.read("feat_index")).data.buffer);
    const values = await clamp.readF32("val");
    const codec = new SaeCodec(sae);
    const codes = codec.encodeRows(await clamp.readF32("x"));
    const set = setFeatures(codes, [...features].map((feature, i) => ({ feature: Number(feature), value: values[i]! })));
    expect(largestDifference(codec.decodeRows(set, codes.stats), await clamp.readF32("recons_clamped"))).toBeLessThan(TOLERANCE);
  });

  test("sparsify, its hook from the folder's name", async () => {
    const { sae, source } = await loadSae(fixture("sparsify_sae/layers.16"));
    expect(source).toMatchObject({ format: "sparsify", warnings: [] });
    expect(sae.config).toMatchObject({ architecture: "topk", k: 8, metadata: { hook_name: "blocks.16.hook_resid_post", hf_hook_name: "layers.16" } });
    expect(await mismatch(sae, "sparsify_sae")).toBeLessThan(TOLERANCE);
  });
});

describe("converting to SAELens 6", () => {
  test("makes of the legacy form what SAELens makes of it: the same configuration and the same bytes", async () => {
    const folder = await temporary("resaved");
    const { sae } = await loadSae(await legacyFolder());
    const { weightsSha256, cfgJson } = await writeSae(folder, sae);
    const wanted: unknown = JSON.parse(await readFile(fixture("legacy_topk_layer_norm_tylercosgrove/resaved_by_current/cfg.json"), "utf8"));
    expect(JSON.parse(cfgJson)).toEqual(wanted);
    expect(JSON.parse(await readFile(join(folder, "cfg.json"), "utf8"))).toEqual(wanted);
    expect(weightsSha256).toBe(await sha256File(fixture("topk_layer_norm_noaux/sae_weights.safetensors")));
  });

  test("of a SAELens folder gives the folder again", async () => {
    for (const name of ["topk", "topk/training_checkpoint"]) {
      const folder = await temporary("again", name);
      const { sae, source } = await loadSae(fixture(name));
      const { weightsSha256 } = await writeSae(folder, sae);
      expect(weightsSha256).toBe(await sha256File(fixture(name, "sae_weights.safetensors")));
      expect((await loadSae(folder)).sae).toEqual(sae);
      expect(JSON.parse(source.cfgJson)).toMatchObject({ metadata: sae.config.metadata });
    }
  });

  test("of sparsify's form keeps activations and reconstructions", async () => {
    const folder = await temporary("from-sparsify");
    await writeSae(folder, (await loadSae(fixture("sparsify_sae/layers.16"))).sae);
    const { sae, source } = await loadSae(folder);
    expect(source.format).toBe("saelens");
    expect(await mismatch(sae, "sparsify_sae")).toBeLessThan(TOLERANCE);
  });
});

async function legacyFolder(): Promise<string> {
  return await assemble(await temporary("legacy"), { "cfg.json": fixture("legacy_topk_layer_norm_tylercosgrove/cfg.json"), "sae_weights.safetensors": fixture("topk_layer_norm_noaux/sae_weights.safetensors") });
}

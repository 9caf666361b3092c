import { rm } from "node:fs/promises";
import { join } from "node:path";
import { atomicWriteFile, bytesFromF32, type FloatDType, InputError, type StreamedTensor, writeSafetensors } from "@mistral-sae/tensor";
import { outputWidth, type SaeConfig } from "../config.ts";
import { streamedTensor, TENSOR_TYPE, type WrittenSae } from "../streamed.ts";
import { transposedPieces } from "../tensors.ts";
import { requireSound, type SaeWeights } from "../weights.ts";
import { CFG_FILE, WEIGHTS_FILE } from "./read.ts";

/** The SAELens release whose form is written; its loader takes files without a version for legacy ones. */
export const SAELENS_VERSION = "6.54.12";

/**
 * Writes a SAELens 6 folder: `sae_weights.safetensors`, then `cfg.json`, each atomically, so that a folder with a cfg.json is whole.
 * Metadata keys that SAELens does not know are kept. Throws InputError for what SAELens cannot express.
 */
export async function writeSae(folder: string, sae: SaeWeights): Promise<WrittenSae> {
  requireSound(sae);
  const { config } = sae;
  if (saelensName(config) === undefined) throw notSaelens(config);
  const dtype = TENSOR_TYPE[config.dtype];
  const cfgJson = JSON.stringify(cfgOf(config));
  // An old configuration beside new weights would describe a file that it does not belong to.
  await rm(join(folder, CFG_FILE), { force: true });
  const weightsSha256 = await writeSafetensors(join(folder, WEIGHTS_FILE), tensorsOf(sae, dtype));
  await atomicWriteFile(join(folder, CFG_FILE), cfgJson);
  return { folder, weightsSha256, cfgJson };
}

/** The cfg.json of SAELens 6, as an object. */
export function cfgOf(config: SaeConfig): Record<string, unknown> {
  const byK = config.architecture === "topk" || config.architecture === "abstopk";
  const { matchingPursuit } = config;
  const version = config.metadata["sae_lens_version"];
  const current = typeof version === "string" && Number.parseInt(version, 10) >= 6;
  return {
    d_in: config.dIn,
    d_sae: config.dSae,
    dtype: config.dtype,
    device: "cpu",
    apply_b_dec_to_input: config.applyBDecToInput,
    normalize_activations: config.normalizeActivations,
    reshape_activations: config.reshapeActivations,
    metadata: { ...config.metadata, sae_lens_version: current ? version : SAELENS_VERSION },
    ...(byK ? { k: config.k, rescale_acts_by_decoder_norm: config.rescaleActsByDecoderNorm } : {}),
    ...(matchingPursuit === undefined
      ? {}
      : {
          residual_threshold: matchingPursuit.residualThreshold,
          max_iterations: matchingPursuit.maxIterations ?? null,
          stop_on_duplicate_support: matchingPursuit.stopOnDuplicateSupport,
        }),
    ...(config.dOut === undefined ? {} : { d_out: config.dOut }),
    architecture: saelensName(config) ?? config.architecture,
  };
}

/** SAELens' name for the architecture; undefined where it has none. */
export function saelensName({ architecture, dOut, skipConnection = false }: SaeConfig): string | undefined {
  if (dOut === undefined) return architecture === "groupmax" || skipConnection ? undefined : architecture;
  const skip = skipConnection ? "skip_" : "";
  if (architecture === "standard") return `${skip}transcoder`;
  return architecture === "jumprelu" ? `jumprelu_${skip}transcoder` : undefined;
}

function notSaelens({ architecture, dOut, skipConnection = false }: SaeConfig): InputError {
  const kind = dOut === undefined ? (skipConnection ? "autoencoder with a skip connection" : "SAE") : "transcoder";
  const got = dOut === undefined && !skipConnection ? architecture : `${architecture} ${kind}`;
  return new InputError(`SAELens has no ${architecture} ${kind}: it cannot be written in its form`, {
    field: "architecture",
    got,
    wanted: "standard, topk, abstopk, jumprelu, gated or matching_pursuit, or a transcoder that is standard or jumprelu; the sparsify form holds topk and groupmax of both kinds",
  });
}

function tensorsOf(sae: SaeWeights, dtype: FloatDType): Record<string, StreamedTensor> {
  const { dIn, dSae, architecture } = sae.config;
  const dOut = outputWidth(sae.config);
  const plain = (values: Float32Array, shape: readonly number[]): StreamedTensor => streamedTensor(values, shape, dtype);
  const decoder = { W_dec: plain(sae.wDec, [dSae, dOut]), b_dec: plain(sae.bDec, [dOut]) };
  if (architecture === "matching_pursuit") return decoder;
  return {
    W_enc: { dtype, shape: [dIn, dSae], chunks: encode(transposedPieces(sae.wEnc, dSae, dIn), dtype) },
    ...decoder,
    ...(sae.wSkip === undefined ? {} : { W_skip: plain(sae.wSkip, [dOut, dIn]) }),
    ...(sae.gate === undefined
      ? { b_enc: plain(sae.bEnc, [dSae]) }
      : { b_gate: plain(sae.gate.bGate, [dSae]), b_mag: plain(sae.gate.bMag, [dSae]), r_mag: plain(sae.gate.rMag, [dSae]) }),
    ...(sae.threshold === undefined ? {} : { threshold: plain(sae.threshold, [dSae]) }),
  };
}

function* encode(parts: Iterable<Float32Array>, dtype: FloatDType): Generator<Uint8Array> {
  for (const part of parts) yield bytesFromF32(dtype, part);
}

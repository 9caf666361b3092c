import { InputError, type StreamedTensor, tensorOf, type TensorSource } from "@mistral-sae/tensor";
import type { Optimizer, ResolvedTrainerConfig } from "./config.ts";
import { encoderBiasName, latentTensors } from "./penalised-state.ts";
import type { RandomState } from "./random.ts";
import { readWhitening, whiteningShapes, writeWhitening } from "./whitening.ts";
import type { MatrixRegion, TrainerMemory, VectorRegion } from "./trainer-memory.ts";

/** What a continuation needs besides tensors. */
export interface TrainerProgress {
  /** Steps done. */
  readonly step: number;
  readonly mseScale: number;
  readonly inputScale: number;
  /** Of a transcoder's outputs; older checkpoints have none, and are of autoencoders. */
  readonly outputScale?: number | undefined;
  /** batchtopk, matryoshka_batchtopk; older checkpoints have none. */
  readonly topkThreshold?: number | undefined;
  readonly random: RandomState;
  /** signum_schedule_free: the largest rate so far and the sum of its squares, which weigh the average. */
  readonly scheduleFree?: { readonly largestLr: number; readonly averageWeight: number } | undefined;
  readonly config: ResolvedTrainerConfig;
}

/** A trainer's state, ready to be written: parameters, the optimiser's two arrays of each and the counters of silence. */
export interface TrainerState {
  readonly progress: TrainerProgress;
  /**
   * `W_enc` F32 [d_sae, d_in], `W_dec` F32 [d_sae, d_out] in the trainer's own space, `b_enc` F32 [d_sae], `b_dec` F32 [d_out], with a skip connection `W_skip` F32 [d_out, d_in], each again under
   * `adam.exp_avg.` and `adam.exp_avg_sq.` (signum_schedule_free: `schedule_free.z.` and `schedule_free.x.`), `since` U64 [d_sae]; also `threshold` (jumprelu), `r_mag` and `b_mag` (gated, with `b_gate` in place of `b_enc`). Chunks are read from the trainer as they are asked for.
   */
  readonly tensors: Readonly<Record<string, StreamedTensor>>;
}

/** A state to continue from. */
export interface SavedTrainer {
  readonly progress: TrainerProgress;
  /** The tensors of {@link TrainerState}. */
  readonly tensors: TensorSource;
}

/** Options that must not change in the middle of a training; the others (threads, rates, batches …) may, and then decide anew. */
const fixedOptions = ["architecture", "dIn", "dOut", "transcoder", "skipConnection", "dSae", "k", "formulation", "normalizeActivations", "optimizer"] as const satisfies readonly (keyof ResolvedTrainerConfig)[];

/** Bytes of a chunk: enough for the disk, little beside the weights. */
const chunkBytes = 4 << 20;

/** Names of an optimiser's two arrays of a parameter. */
export const optimiserPrefixes: Readonly<Record<Optimizer, readonly [m: string, v: string]>> = {
  adam: ["adam.exp_avg.", "adam.exp_avg_sq."],
  signum_schedule_free: ["schedule_free.z.", "schedule_free.x."],
};

const matricesOf = (config: Pick<ResolvedTrainerConfig, "architecture" | "optimizer" | "skipConnection">): readonly (readonly [string, string, MatrixRegion])[] => {
  const [m, v] = optimiserPrefixes[config.optimizer];
  const bias = encoderBiasName(config);
  const skips = [["W_skip", "", "wSkip"], [`${m}W_skip`, "", "mSkip"], [`${v}W_skip`, "", "vSkip"]] as const;
  return [
    ["W_enc", bias, "wEnc"],
    [`${m}W_enc`, `${m}${bias}`, "mEnc"],
    [`${v}W_enc`, `${v}${bias}`, "vEnc"],
    ["W_dec", "", "wDec"],
    [`${m}W_dec`, "", "mDec"],
    [`${v}W_dec`, "", "vDec"],
    ...(config.skipConnection ? skips : []),
  ];
};
const vectorsOf = (optimizer: Optimizer): readonly (readonly [string, VectorRegion])[] => {
  const [m, v] = optimiserPrefixes[optimizer];
  return [
    ["b_dec", "bDec"],
    [`${m}b_dec`, "mBDec"],
    [`${v}b_dec`, "vBDec"],
  ];
};

/** The state that a memory holds. */
export function readState(memory: TrainerMemory, config: ResolvedTrainerConfig): TrainerState {
  const { d, dOut } = memory.layout;
  const tensors: Record<string, StreamedTensor> = {};
  const whole = (values: Float32Array | BigUint64Array): StreamedTensor => {
    const { dtype, shape, data } = tensorOf(values);
    return { dtype, shape, chunks: [data] };
  };
  for (const [name, bias, region] of matricesOf(config)) {
    tensors[name] = { dtype: "F32", shape: memory.shape(region), chunks: rowChunks(memory, region) };
    if (bias !== "") tensors[bias] = whole(memory.readBias(region));
  }
  for (const [name, region] of vectorsOf(config.optimizer)) tensors[name] = whole(memory.vector(region).slice(0, dOut));
  for (const [name, vector] of latentTensors(memory, optimiserPrefixes[config.optimizer])) tensors[name] = whole(vector.slice());
  tensors["since"] = whole(memory.since.slice());
  const whitening = readWhitening(memory);
  if (whitening !== undefined) for (const [part, name, shape] of whiteningShapes(d)) tensors[name] = { ...whole(whitening[part]), shape };
  const { step, mseScale, inputScale, outputScale, topkThreshold, random, largestLr, averageWeight } = memory;
  const scheduleFree = config.optimizer === "signum_schedule_free" ? { largestLr, averageWeight } : undefined;
  return { progress: { step, mseScale, inputScale, outputScale, topkThreshold, random, scheduleFree, config }, tensors };
}

function* rowChunks(memory: TrainerMemory, region: MatrixRegion): Generator<Uint8Array> {
  const [h, d] = memory.shape(region);
  const rows = Math.max(1, Math.floor(chunkBytes / (d * 4)));
  const buffer = new Float32Array(Math.min(rows, h) * d);
  for (let from = 0; from < h; from += rows) {
    const to = Math.min(h, from + rows);
    memory.readRows(region, from, to, buffer);
    yield new Uint8Array(buffer.buffer, 0, (to - from) * d * 4);
  }
}

/** Writes a saved state into a memory. Throws InputError when it belongs to another SAE, or lacks a tensor. */
export async function writeState(memory: TrainerMemory, config: ResolvedTrainerConfig, { progress, tensors }: SavedTrainer): Promise<void> {
  // Checkpoints from before there was a choice are of topk SAEs.
  const saved: Partial<ResolvedTrainerConfig> = { architecture: "topk", dOut: progress.config.dIn, transcoder: false, skipConnection: false, ...(progress.config as Partial<ResolvedTrainerConfig>) };
  for (const option of fixedOptions) {
    if (String(saved[option]) !== String(config[option])) {
      throw new InputError(`the saved state belongs to another training: ${option} differs`, { field: option, got: String(saved[option]), wanted: String(config[option]) });
    }
  }
  const { d, dOut, h } = memory.layout;
  const [matrices, vectors] = [matricesOf(config), vectorsOf(config.optimizer)];
  const ofLatents = latentTensors(memory, optimiserPrefixes[config.optimizer]);
  const names = [...matrices.flatMap(([name, bias, region]) => [[name, memory.shape(region)] as const, ...(bias === "" ? [] : [[bias, [h]] as const])]), ...vectors.map(([name]) => [name, [dOut]] as const), ...ofLatents.map(([name]) => [name, [h]] as const), ["since", [h]] as const, ...(memory.layout.whitens ? whiteningShapes(d).map(([, name, shape]) => [name, shape] as const) : [])];
  for (const [name, shape] of names) requireShape(tensors, name, shape);
  for (const [name, bias, region] of matrices) {
    const [all, columns] = memory.shape(region);
    const rows = Math.max(1, Math.floor(chunkBytes / (columns * 4)));
    for (let start = 0; start < all; start += rows) {
      memory.writeRows(region, start, await tensors.readF32(name, { rows: { start, end: Math.min(all, start + rows) } }));
    }
    if (bias !== "") memory.writeBias(region, await tensors.readF32(bias));
  }
  for (const [name, region] of vectors) memory.vector(region).set(await tensors.readF32(name));
  for (const [name, vector] of ofLatents) vector.set(await tensors.readF32(name));
  if (memory.layout.whitens) {
    const [mean, rows, spectrum] = await Promise.all(whiteningShapes(d).map(async ([, name]) => await tensors.readF32(name)));
    writeWhitening(memory, { mean: mean!, rows: rows!, spectrum: spectrum! });
  }
  const { data } = await tensors.read("since");
  new Uint8Array(memory.buffer, memory.sinceAt, h * 8).set(data);
  memory.step = progress.step;
  memory.mseScale = progress.mseScale;
  memory.inputScale = progress.inputScale;
  memory.outputScale = progress.outputScale ?? progress.inputScale;
  memory.topkThreshold = progress.topkThreshold ?? 0;
  memory.random = progress.random;
  memory.largestLr = progress.scheduleFree?.largestLr ?? 0;
  memory.averageWeight = progress.scheduleFree?.averageWeight ?? 0;
}

function requireShape(source: TensorSource, name: string, shape: readonly number[]): void {
  const found = source.tensors.get(name);
  if (found === undefined) throw new InputError(`the saved state lacks the tensor "${name}"`, { field: name });
  const dtype = name === "since" ? "U64" : "F32";
  const got = `${found.dtype} [${found.shape.join(", ")}]`;
  const wanted = `${dtype} [${shape.join(", ")}]`;
  if (got !== wanted) throw new InputError(`the saved state holds another "${name}"`, { file: found.file, field: name, got, wanted });
}

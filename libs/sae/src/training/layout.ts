import { InputError } from "@mistral-sae/tensor";
import { totalmem } from "node:os";
import type { ResolvedTrainerConfig } from "./config.ts";
import { architectureFacts, isDense, isSelected } from "./architecture.ts";
import { chunkRows } from "./chunks.ts";
import { type PenalisedRegion, penalisedShape, type PenalisedShape, penalisedSizes } from "./penalised-layout.ts";
import { type PreselectRegion, preselectShape, type PreselectShape, preselectSizes } from "./preselect-layout.ts";
import { streamedRows } from "./streamed-phases.ts";
import { histogramBytes, tileWidth } from "./tiles.ts";

/** Everything that lies in the trainer's memory, as byte offsets, and the sizes that all threads compute with. */
export interface TrainerLayout {
  /** Columns of the encoder's input. */
  readonly d: number;
  /** Columns of what is reconstructed: d but for transcoders. */
  readonly dOut: number;
  readonly transcoder: boolean;
  /** Whether there is a W_skip. */
  readonly skips: boolean;
  /** Columns of a training row, and bytes of one in a batch slot. */
  readonly rowColumns: number;
  readonly rowStride: number;
  readonly h: number;
  /** Features a row at most, at any step; 0 where nothing is counted. */
  readonly k: number;
  /** Entries that vals and idx have room for. */
  readonly capacity: number;
  /** Whether features keep the sign of their pre-activation: abstopk. */
  readonly signed: boolean;
  /** Latents of each nested reconstruction, rising; the last is h. */
  readonly widths: readonly number[];
  /** The gradient at the reconstruction from all latents: the last of the matrices of g, one for each width. */
  readonly outer: number;
  /** Rows of a batch. */
  readonly batch: number;
  readonly kAux: number;
  readonly threads: number;
  /** Bytes of a row, of weights and of activations alike: a multiple of 16 with room for d_out columns, and for one more than d. */
  readonly stride: number;
  /** Bytes of a row that decoding works on: d_out columns, rounded up to 16 bytes. */
  readonly width: number;
  /** Whether all pre-activations are kept, in `pre`. */
  readonly dense: boolean;
  /** Latents of a tile of `pre`: see DenseEncoder. */
  readonly tile: number;
  /** Of architectures that a sparsity loss keeps sparse. */
  readonly penalised: PenalisedShape | undefined;
  /** Whether rows are whitened: the regions of the statistics are there. */
  readonly whitens: boolean;
  /** Where the largest pre-activations are found by way of 8-bit scores. */
  readonly preselect: PreselectShape | undefined;
  /** Whether the largest of the dead are found by the threads: see DeadThread. */
  readonly topsDead: boolean;
  readonly at: Readonly<Record<Region, number>>;
  readonly slots: readonly number[];
  readonly rowLists: readonly number[];
  readonly rowStore: { readonly at: number; readonly bytes: number };
  /** Whether gEnc and gDec exist: see streamed-phases.ts. */
  readonly storesGradients: boolean;
  /** Bytes of the whole memory. */
  readonly bytes: number;
}

type Region =
  /* Encoder rows hold their bias in column d; decoder rows are zero there. [h, stride] */
  | "wEnc" | "wDec" | "mEnc" | "vEnc" | "mDec" | "vDec" | "gEnc" | "gDec"
  /* Rows a thread, in place of gEnc and gDec where those do not fit. */
  | "gradientRows"
  /* [stride / 4, stride] */
  | "wSkip" | "mSkip" | "vSkip" | "gSkip"
  /* [stride] */
  | "bDec" | "mBDec" | "vBDec" | "gBDec" | "zeroRow" | "norms" | "along"
  /* [batch, stride]; g once for each nested reconstruction, and for a gated SAE's by its gate */
  | "target" | "centered" | "g" | "g2" | "skipTarget"
  /* [batch] */
  | "mean" | "deviation"
  /* [batch, k] and [batch, kAux] */
  | "vals" | "idx" | "dz" | "auxVals" | "auxSource" | "auxIdx" | "auxDz"
  /* All pre-activations, where a row's k largest do not suffice: in tiles, [batch, tile] each */
  | "pre"
  /* Rows of any number of entries: [batch, 2] and [batch], and a histogram of values a thread */
  | "bounds" | "auxBounds" | "rowCounts" | "ties" | "histograms"
  /* Nested reconstructions: [levels], and a row and [levels] f64 a thread */
  | "widths" | "outerColumns" | "levelSquares"
  /* [h] */
  | "counts" | "offsets" | "dead" | "sinceA" | "sinceB" | "touched"
  | "entries"
  /* One row a thread, f32 or f64. */
  | "columns" | "bDecColumns" | "sums"
  /* covariance_whitening: [stride], [stride / 4, stride], [stride] */
  | "whitenMean" | "whitenRows" | "whitenSpectrum"
  | PenalisedRegion
  | PreselectRegion
  /* Pre-activations of dead latents, in tiles of each thread's rows, and a row of them a thread */
  | "auxPre" | "auxScratch";

/** Where the first region starts; lower addresses are left to the compiler. */
const firstByte = 4096;
const regionAlignment = 256;
const pageBytes = 65536;
/** Values above the guess of a BatchSelector that there is room for, for each that is kept. */
const candidates = 3;
/** What 32-bit addresses reach. */
const addressableBytes = 65536 * pageBytes;

/** Bytes of a row of d columns and its bias, rounded up to whole vectors. */
export function rowBytes(d: number): number {
  return Math.ceil((d + 1) / 4) * 16;
}

/** Places everything in one memory; gradients of all latents are kept where they fit into `addressable` bytes, or must be. */
export function planLayout(config: ResolvedTrainerConfig, addressable: number = addressableBytes): TrainerLayout {
  const stored = placeRegions(config, true);
  const { sparsity } = architectureFacts[config.architecture];
  const streams = config.formulation === "gao" && sparsity === "selected";
  return streams && stored.bytes > addressable ? placeRegions(config, false) : stored;
}

function placeRegions(config: ResolvedTrainerConfig, storesGradients: boolean): TrainerLayout {
  const { dIn: d, dSae: h, kAux, threads, trainBatchSizeTokens: batch } = config;
  const k = Math.max(config.k, config.kStart);
  const { dOut, transcoder, skipConnection: skips } = config;
  const width = Math.ceil(dOut / 4) * 16;
  const stride = Math.max(rowBytes(d), width);
  const rowColumns = transcoder ? d + dOut : d;
  const rowStride = transcoder ? Math.ceil(rowColumns / 4) * 16 : stride;
  const skip = skips ? (stride / 4) * stride : 0;
  const matrix = h * stride;
  const rows = batch * stride;
  const normalised = config.normalizeActivations !== "none";
  const dense = isDense(config.architecture);
  const byBatch = architectureFacts[config.architecture].k === "batch";
  const plain = config.architecture === "topk";
  const entries = batch * k;
  // A batch's largest values are taken from more, all above a guess: see BatchSelector.
  const capacity = byBatch ? Math.min(batch * h, candidates * entries) : entries;
  const widths = config.architecture === "matryoshka_batchtopk" ? config.matryoshkaWidths : [h];
  const levels = widths.length;
  const penalised = isSelected(config.architecture) ? undefined : penalisedShape(config);
  const tile = tileWidth(batch, h);
  const preselect = preselectShape(config, stride);
  const topsDead = kAux > 0 && config.architecture !== "abstopk";
  const seedCompat = config.formulation === "seed_compat";
  const whitens = config.normalizeActivations === "covariance_whitening";
  const sizes: Record<Region, number> = {
    wEnc: matrix, wDec: matrix, mEnc: matrix, vEnc: matrix, mDec: matrix, vDec: matrix, gEnc: storesGradients ? matrix : 0, gDec: storesGradients ? matrix : 0,
    gradientRows: storesGradients ? 0 : threads * streamedRows * stride,
    bDec: stride, mBDec: stride, vBDec: stride, gBDec: stride, zeroRow: stride, norms: seedCompat ? stride : 0, along: seedCompat ? stride : 0,
    wSkip: skip, mSkip: skip, vSkip: skip, gSkip: skip, skipTarget: skips ? rows : 0,
    target: normalised || transcoder ? rows : 0, centered: rows, g: rows * (penalised?.gated === true ? 2 : levels), g2: kAux > 0 ? rows : 0,
    mean: batch * 4, deviation: batch * 4,
    vals: capacity * 4, idx: capacity * 4, dz: entries * 4,
    bounds: plain ? 0 : batch * 8, auxBounds: plain ? 0 : batch * 8, rowCounts: batch * 4, ties: byBatch ? batch * 4 : 0, histograms: byBatch ? threads * histogramBytes : 0,
    widths: levels * 4, outerColumns: levels > 1 ? threads * stride : 0, levelSquares: threads * levels * 8,
    auxVals: batch * kAux * 4, auxSource: batch * kAux * 4, auxIdx: batch * kAux * 4, auxDz: batch * kAux * 4,
    pre: dense ? batch * h * 4 : 0,
    counts: h * 4, offsets: (h + 1) * 4, dead: h * 4, sinceA: h * 8, sinceB: h * 8, touched: h,
    entries: (entries + batch * kAux) * 16,
    columns: threads * stride, bDecColumns: threads * stride, sums: threads * stride * 2,
    whitenMean: whitens ? stride : 0, whitenRows: whitens ? (stride / 4) * stride : 0, whitenSpectrum: whitens ? stride : 0,
    auxPre: topsDead ? batch * h * 4 : 0, auxScratch: topsDead ? threads * (h + 4) * 4 : 0,
    ...preselectSizes(preselect, { h, batch, threads, stride }),
    ...penalisedSizes(penalised, { h, batch, threads, stride, tile }),
  };
  let top = firstByte;
  const place = (bytes: number): number => {
    const at = top;
    top += Math.ceil(bytes / regionAlignment) * regionAlignment;
    return at;
  };
  const at = Object.fromEntries(Object.entries(sizes).map(([name, bytes]) => [name, place(bytes)])) as Record<Region, number>;
  const slots = Array.from({ length: config.batchSlots }, () => place(batch * rowStride));
  const rowLists = Array.from({ length: config.batchSlots }, () => place(batch * 4));
  const rowStore = { at: place(config.rowStoreBytes), bytes: config.rowStoreBytes };
  return { d, dOut, transcoder, skips, rowColumns, rowStride, h, k, capacity, signed: config.architecture === "abstopk", widths, outer: at.g + (levels - 1) * rows, batch, kAux, threads, stride, width, dense, tile, penalised, whitens, at, slots, rowLists, rowStore, storesGradients, preselect, topsDead, bytes: Math.ceil(top / pageBytes) * pageBytes };
}

/** What training will take, by purpose; bytes. */
export interface MemoryBudget {
  /** Weights, their moments and their gradients. */
  readonly parameters: number;
  /** Batches, reconstructions and codes. */
  readonly batches: number;
  readonly rowStore: number;
  /** Intermediate values of onnxruntime at their largest. */
  readonly encoder: number;
  readonly total: number;
}

/** What a training of this configuration will take. */
export function trainingMemory(config: ResolvedTrainerConfig): MemoryBudget {
  return budgetOf(planLayout(config));
}

/** Refuses a configuration whose training would not fit, long before it starts. Throws InputError with the numbers. */
export function requireTrainingMemory(config: ResolvedTrainerConfig): void {
  requireMemory(planLayout(config), config.maxMemoryBytes);
}

function budgetOf(layout: TrainerLayout): MemoryBudget {
  const { h, stride, bytes, batch, kAux } = layout;
  const parameters = (layout.storesGradients ? 8 : 6) * h * stride;
  const chunk = chunkRows(batch) * h * 4;
  // Copies of what a DenseEncoder writes are garbage of a step.
  const copies = layout.dense ? batch * h * 4 : 0;
  const encoder = (layout.dense ? 0 : chunk * 2) + copies + (kAux > 0 ? chunk + h * stride : 0) + batch * (layout.k + kAux) * 24;
  return { parameters, batches: bytes - parameters - layout.rowStore.bytes, rowStore: layout.rowStore.bytes, encoder, total: bytes + encoder };
}

/** Refuses a training that does not fit, before anything is allocated. Throws InputError with the numbers. */
export function requireMemory(layout: TrainerLayout, most: number | undefined): void {
  const budget = budgetOf(layout);
  const parts = `weights${layout.storesGradients ? ", moments and gradients" : " and moments"} ${gib(budget.parameters)}, batches ${gib(budget.batches)}${budget.rowStore > 0 ? `, row store ${gib(budget.rowStore)}` : ""}, encoder ${gib(budget.encoder)}`;
  const wish = `d_in ${layout.d}, d_sae ${layout.h}, batch ${layout.batch}`;
  if (layout.bytes > addressableBytes) {
    throw new InputError(`this trainer holds an SAE in one memory of at most ${gib(addressableBytes)}; ${wish} needs ${parts}`, { field: "dSae", got: gib(layout.bytes), wanted: `at most ${gib(addressableBytes)}` });
  }
  const limit = most ?? totalmem();
  if (budget.total > limit) {
    throw new InputError(`not enough memory to train: ${wish} needs ${parts}`, { field: "maxMemoryBytes", got: gib(budget.total), wanted: `at most ${gib(limit)}` });
  }
}

function gib(bytes: number): string {
  return bytes < 2 ** 29 ? `${(bytes / 2 ** 20).toFixed(1)} MiB` : `${(bytes / 2 ** 30).toFixed(2)} GiB`;
}

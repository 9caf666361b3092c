import { join } from "node:path";
import { byteLength, DTYPE_BYTES, type DType } from "@mistral-sae/tensor";
import type { ModelSource } from "../graph/model-source.ts";
import type { Weight } from "../graph/weight-table.ts";
import type { SourceDType } from "./block-quantiser.ts";
import { blocksOfRow, bytesOfRow, type BlockFormat, type QuantisedBits } from "./blocks.ts";
import { floatWeightNames, quantisedModules } from "./modules.ts";

/** Tensors start on a page, so that they can be mapped alone. */
const pageBytes = 4096;

/** Values of one piece of work: enough to drown its overhead, few enough for the caches' sake and for memory. */
const valuesOfJob = 1 << 20;

const sourceDTypes: Readonly<Record<string, SourceDType>> = { float32: "F32", float16: "F16", bfloat16: "BF16" };

/** Bytes of a file. */
export interface FileRange {
  readonly file: string;
  readonly offset: number;
  readonly length: number;
}

/** Rows to quantise. */
export interface RowsJob {
  readonly dtype: SourceDType;
  readonly k: number;
  readonly format: BlockFormat;
  /** Where the scales go, bytes from the start of the new file. */
  readonly scalesAt: number;
  /** Rows of a head whose rotary pairs lie side by side, to be put half a head apart; 0 where the order is right. */
  readonly interleaved: number;
}

/** A piece of work: rows to quantise, or bytes to copy, from a source file to places of the new file. */
export interface QuantiseJob {
  /** The tensor that it is part of, for errors. */
  readonly tensor: string;
  readonly from: FileRange;
  /** Undefined: the bytes are copied to `at`. */
  readonly rows: RowsJob | undefined;
  /** Where the values go, bytes from the start of the new file. */
  readonly at: number;
}

/** The new file before it is written. */
export interface QuantisePlan {
  /** Length, JSON and padding of the safetensors header. */
  readonly header: Uint8Array;
  /** In an order of their own, which the source's digest follows. */
  readonly jobs: readonly QuantiseJob[];
  /** Bytes of the whole file. */
  readonly size: number;
}

interface Placed {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
}

/** Lays out the quantised file of a model and cuts the work into pieces. */
export function planQuantisation(source: ModelSource, format: BlockFormat, moduleBits: ReadonlyMap<string, QuantisedBits>): QuantisePlan {
  const modules = quantisedModules(source.config).map((module) => ({ ...module, format: { ...format, bits: moduleBits.get(module.name) ?? format.bits } }));
  const floats = floatWeightNames(source.config).map((name) => ({ name, weight: source.weights.get(name) }));
  const tensors: Placed[] = [
    ...modules.flatMap(({ name, n, k, format: own }): Placed[] => {
      const blocks = blocksOfRow(k, own.blockSize);
      return [
        { name: `${name}.qweight`, dtype: "U8", shape: [n, blocks, own.blockSize * (own.bits / 8)] },
        { name: `${name}.scales`, dtype: "F32", shape: [n * blocks] },
      ];
    }),
    ...floats.map(({ name, weight }): Placed => ({ name, dtype: sourceDTypes[weight.type] ?? "F32", shape: weight.shape })),
  ];
  const { header, offsets, size } = layOut(tensors);
  const jobs: QuantiseJob[] = [];
  for (const { name, k, parts, format: own } of modules) {
    const blocks = blocksOfRow(k, own.blockSize);
    let at = offsets.get(`${name}.qweight`) ?? 0;
    let scalesAt = offsets.get(`${name}.scales`) ?? 0;
    for (const part of parts) {
      const weight = source.weights.get(part);
      const dtype = sourceDTypes[weight.type] ?? "F32";
      const rowBytes = k * DTYPE_BYTES[dtype];
      const interleaved = weight.interleavedHeads === undefined ? 0 : source.config.dHead;
      const unit = Math.max(1, interleaved);
      for (const { start, count } of pieces(weight.shape[0] ?? 0, unit * Math.ceil(valuesOfJob / k / unit))) {
        jobs.push({ tensor: part, from: range(source, weight, start * rowBytes, count * rowBytes), rows: { dtype, k, format: own, scalesAt, interleaved }, at });
        at += count * bytesOfRow(k, own);
        scalesAt += count * blocks * Float32Array.BYTES_PER_ELEMENT;
      }
    }
  }
  for (const { name, weight } of floats) {
    const at = offsets.get(name) ?? 0;
    for (const { start, count } of pieces(weight.at.length, valuesOfJob * 4)) jobs.push({ tensor: name, from: range(source, weight, start, count), rows: undefined, at: at + start });
  }
  return { header, jobs, size };
}

function range({ weights }: ModelSource, { at }: Weight, start: number, length: number): FileRange {
  return { file: join(weights.folder, at.file), offset: at.offset + start, length };
}

function* pieces(total: number, size: number): Generator<{ readonly start: number; readonly count: number }> {
  for (let start = 0; start < total; start += size) yield { start, count: Math.min(size, total - start) };
}

/** A safetensors header whose tensors start on pages. The format has no room between tensors, so tensors of zeros fill it. */
function layOut(tensors: readonly Placed[]): { readonly header: Uint8Array; readonly offsets: ReadonlyMap<string, number>; readonly size: number } {
  const json: [string, unknown][] = [];
  const begins: [string, number][] = [];
  let end = 0;
  const put = ({ name, dtype, shape }: Placed): void => {
    const begin = end;
    end += byteLength(dtype, shape);
    json.push([name, { dtype, shape, data_offsets: [begin, end] }]);
    begins.push([name, begin]);
  };
  for (const tensor of tensors) {
    put(tensor);
    const gap = -end & (pageBytes - 1);
    if (end % pageBytes !== 0) put({ name: `padding.${begins.length}`, dtype: "U8", shape: [gap] });
  }
  const text = new TextEncoder().encode(JSON.stringify(Object.fromEntries(json)));
  const header = new Uint8Array(Math.ceil((8 + text.byteLength) / pageBytes) * pageBytes).fill(0x20, 8);
  new DataView(header.buffer).setBigUint64(0, BigInt(header.byteLength - 8), true);
  header.set(text, 8);
  return { header, offsets: new Map(begins.map(([name, begin]) => [name, header.byteLength + begin])), size: header.byteLength + end };
}

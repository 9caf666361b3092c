import { InferenceSession, Tensor } from "onnxruntime-node";
import { bf16FromF32 } from "@mistral-sae/tensor";
import { describe, expect, it } from "vitest";
import { Graph } from "../../src/onnx/graph.ts";
import { BlockQuantiser, type StoredRows } from "../../src/quantisation/block-quantiser.ts";
import { blocksOfRow, type BlockFormat } from "../../src/quantisation/blocks.ts";
import { uniform } from "../../src/sampling/philox.ts";
import { dequantiseRows } from "../support/dequantise.ts";

const quantiser = new BlockQuantiser();

/** Rows of a bell-shaped spread, a little different from row to row. */
function weights(n: number, k: number, seed = 3n): Float32Array {
  return Float32Array.from({ length: n * k }, (_, i) => (1 + (i % n)) * (uniform(seed, 3 * i) + uniform(seed, 3 * i + 1) + uniform(seed, 3 * i + 2) - 1.5));
}

function quantise(values: ArrayBufferView, rows: StoredRows, format: BlockFormat): { readonly values: Uint8Array; readonly scales: Float32Array; readonly badRow: number } {
  const { values: q, scales, badRow } = quantiser.quantise(rows, format, (bytes) => bytes.set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength)));
  return { values: q.slice(), scales: scales.slice(), badRow };
}

function squaredError(a: Float32Array, b: Float32Array): number {
  return a.reduce((sum, value, i) => sum + (value - b[i]!) ** 2, 0);
}

describe("blocks of 8 bits", () => {
  it("are symmetric around 128 and scaled by the largest value over 127", () => {
    const row = new Float32Array(32).fill(0.5);
    row[0] = -127;
    row[1] = 12.6;
    const { values, scales } = quantise(row, { dtype: "F32", n: 1, k: 32 }, { bits: 8, blockSize: 32 });
    expect(scales).toEqual(Float32Array.of(1));
    expect([...values.subarray(0, 3)]).toEqual([1, 141, 128]);
  });

  it("are off by half a scale at most", () => {
    const w = weights(5, 96);
    const format = { bits: 8, blockSize: 32 } as const;
    const { values, scales } = quantise(w, { dtype: "F32", n: 5, k: 96 }, format);
    const back = dequantiseRows(values, scales, 96, format);
    for (const [i, value] of w.entries()) expect(Math.abs(value - back[i]!)).toBeLessThanOrEqual(scales[Math.floor(i / 32)]! * 0.500001);
  });
});

describe("blocks of 4 bits", () => {
  const format = { bits: 4, blockSize: 32 } as const;

  it("hold two values a byte, the first in the low bits, around 8", () => {
    const row = Float32Array.from({ length: 32 }, (_, i) => (i % 16) - 8);
    const { values, scales } = quantise(row, { dtype: "F32", n: 1, k: 32 }, format);
    expect([...values]).toEqual([0x10, 0x32, 0x54, 0x76, 0x98, 0xba, 0xdc, 0xfe, 0x10, 0x32, 0x54, 0x76, 0x98, 0xba, 0xdc, 0xfe]);
    expect(scales[0]).toBeCloseTo(1, 6);
  });

  it("leave less error than rounding to the nearest of 15 or 16 levels", () => {
    const w = weights(16, 512);
    const { values, scales } = quantise(w, { dtype: "F32", n: 16, k: 512 }, format);
    const ours = squaredError(w, dequantiseRows(values, scales, 512, format));
    for (const divisor of [7, -8]) {
      const rounded = w.slice();
      for (let start = 0; start < w.length; start += 32) {
        const block = rounded.subarray(start, start + 32);
        const peak = block.reduce((a, b) => (Math.abs(b) > Math.abs(a) ? b : a));
        const scale = peak / divisor;
        for (const [i, value] of block.entries()) block[i] = Math.max(-8, Math.min(7, Math.round(value / scale))) * scale;
      }
      expect(ours).toBeLessThan(0.93 * squaredError(w, rounded));
    }
  });
});

describe.each([4, 8] as const)("blocks of %d bits", (bits) => {
  const format = { bits, blockSize: 32 } as const;

  it("fill rows up with zeros where they end within a block", () => {
    const w = weights(3, 40);
    const short = quantise(w, { dtype: "F32", n: 3, k: 40 }, format);
    const long = new Float32Array(3 * 64);
    for (let row = 0; row < 3; row++) long.set(w.subarray(row * 40, row * 40 + 40), row * 64);
    expect(short).toEqual(quantise(long, { dtype: "F32", n: 3, k: 64 }, format));
  });

  it("are the same for values stored in 16 bits as for the same values in 32", () => {
    const half = new Float16Array(weights(2, 72).map((value) => value * 1e-3));
    half.set([0, -0, 6e-8, -6e-5, 65504], 0);
    expect(quantise(half, { dtype: "F16", n: 2, k: 72 }, format)).toEqual(quantise(Float32Array.from(half), { dtype: "F32", n: 2, k: 72 }, format));
    const bf16 = bf16FromF32(weights(2, 72), new Uint16Array(144));
    const wide = new Float32Array(Uint32Array.from(bf16, (value) => value << 16).buffer);
    expect(quantise(bf16, { dtype: "BF16", n: 2, k: 72 }, format)).toEqual(quantise(wide, { dtype: "F32", n: 2, k: 72 }, format));
  });

  it("are zero for zeros, and finite for the smallest and largest values", () => {
    const w = new Float32Array(4 * 32);
    w.fill(1e-42, 32, 64);
    w.fill(3e38, 64, 96);
    w.fill(-3e38, 96, 112);
    const { values, scales, badRow } = quantise(w, { dtype: "F32", n: 4, k: 32 }, format);
    expect(badRow).toBe(-1);
    const back = dequantiseRows(values, scales, 32, format);
    expect(back.subarray(0, 64)).toEqual(new Float32Array(64));
    for (const [i, value] of back.subarray(64).entries()) expect(Math.abs(value - w[64 + i]!)).toBeLessThan(0.1 * 3e38);
  });

  it.each([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])("tell the row that holds %d", (value) => {
    const w = weights(4, 32);
    w[2 * 32 + 7] = value;
    expect(quantise(w, { dtype: "F32", n: 4, k: 32 }, format).badRow).toBe(2);
  });

  it("put pairs of rotary rows half a head apart", () => {
    const w = weights(8, 32);
    const paired = new Float32Array(8 * 32);
    for (const [to, from] of [0, 4, 1, 5, 2, 6, 3, 7].entries()) paired.set(w.subarray(from * 32, from * 32 + 32), to * 32);
    expect(quantise(paired, { dtype: "F32", n: 8, k: 32, interleaved: 8 }, format)).toEqual(quantise(w, { dtype: "F32", n: 8, k: 32 }, format));
  });

  it.each([
    [6, 64],
    [5, 48],
    [33, 100],
  ])("mean to onnxruntime what they mean here: [%d, %d]", async (n, k) => {
    const { values, scales } = quantise(weights(n, k), { dtype: "F32", n, k }, format);
    const w = dequantiseRows(values, scales, k, format);
    const x = weights(3, k, 5n);
    const g = new Graph("product");
    const blocks = blocksOfRow(k, 32);
    const inputs = [g.input("x", "float32", ["M", k]), g.constant("q", "uint8", [n, blocks, 4 * bits], values), g.constant("s", "float32", [n * blocks], scales)];
    for (const level of [0, 4]) g.output(`y${level}`, "float32", ["M", n], g.ms("MatMulNBits", inputs, { K: k, N: n, bits, block_size: 32, accuracy_level: level }));
    const session = await InferenceSession.create(g.modelBytes(), { intraOpNumThreads: 1, logSeverityLevel: 3 });
    const got = await session.run({ x: new Tensor("float32", x, [3, k]) });
    await session.release();
    const row = (matrix: Float32Array, i: number): Float32Array => matrix.subarray(i * k, (i + 1) * k);
    const dot = (a: Float32Array, b: Float32Array): number => a.reduce((sum, value, i) => sum + value * b[i]!, 0);
    for (let i = 0; i < 3; i++) {
      for (let j = 0; j < n; j++) {
        const wanted = dot(row(x, i), row(w, j));
        const size = Math.sqrt(dot(row(x, i), row(x, i)) * dot(row(w, j), row(w, j)));
        expect(Math.abs(Number(got["y0"]?.data[i * n + j]) - wanted)).toBeLessThan(2e-6 * size);
        // With int8 activations each row of x is rounded too.
        expect(Math.abs(Number(got["y4"]?.data[i * n + j]) - wanted)).toBeLessThan(2e-2 * size);
      }
    }
  });
});

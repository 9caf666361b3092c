import { describe, expect, it } from "vitest";
import { type Architecture, denseOf, RowEncoder, SaeCodec, type SaeWeights } from "../../src/index.ts";

const D = 24;
const H = 80;
let state = 7;
const noise = (count: number, scale = 1): Float32Array =>
  Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return ((state >>> 8) / 2 ** 23 - 1) * scale;
  });

function saeOf(architecture: Architecture, over: Partial<SaeWeights["config"]> = {}): SaeWeights {
  const selects = architecture === "topk" || architecture === "abstopk" || architecture === "groupmax";
  return {
    config: { architecture, dIn: D, dSae: H, ...(selects ? { k: 8 } : {}), dtype: "float32", applyBDecToInput: true, normalizeActivations: "none", reshapeActivations: "none", rescaleActsByDecoderNorm: false, metadata: {}, ...over },
    wEnc: noise(H * D, 0.3),
    bEnc: architecture === "gated" ? new Float32Array(H) : noise(H, 0.1),
    wDec: noise(H * D, 0.3),
    bDec: noise(D),
    ...(architecture === "jumprelu" ? { threshold: noise(H, 0.2).map(Math.abs) } : {}),
    ...(architecture === "gated" ? { gate: { bGate: noise(H, 0.1), bMag: noise(H, 0.1), rMag: noise(H, 0.1) } } : {}),
  };
}

describe("RowEncoder", () => {
  it.each<[string, SaeWeights]>([
    ["topk", saeOf("topk")],
    ["topk with layer norm", saeOf("topk", { normalizeActivations: "layer_norm" })],
    ["topk scaled by decoder norms", saeOf("topk", { rescaleActsByDecoderNorm: true })],
    ["abstopk", saeOf("abstopk")],
    ["groupmax", saeOf("groupmax")],
    ["jumprelu", saeOf("jumprelu")],
    ["gated", saeOf("gated")],
    ["standard", saeOf("standard")],
    ["a transcoder with a skip connection", { ...saeOf("topk", { dOut: 10, skipConnection: true, applyBDecToInput: false }), wDec: noise(H * 10), bDec: noise(10), wSkip: noise(10 * D) }],
    ["a transcoder with layer norm", { ...saeOf("standard", { dOut: 10, applyBDecToInput: false, normalizeActivations: "layer_norm" }), wDec: noise(H * 10), bDec: noise(10) }],
  ])("gives what SaeCodec gives: %s", async (_, sae) => {
    const rows = noise(50 * D, 2);
    const encoder = await RowEncoder.open(sae, 1);
    const codec = new SaeCodec(sae);
    const codes = await encoder.encode(rows);
    const wanted = codec.encodeRows(rows);
    const dense = denseOf(codes);
    const wantedDense = denseOf(wanted);
    expect(Math.max(...dense.map((value, at) => Math.abs(value - wantedDense[at]!)))).toBeLessThan(1e-5);
    expect(codes.indices.length).toBe(wanted.indices.length);
    const reconstruction = codec.decodeRows(wanted, wanted.stats);
    expect(Math.max(...encoder.codec.decodeRows(codes, codes.stats).map((value, at) => Math.abs(value - reconstruction[at]!)))).toBeLessThan(1e-4);
    expect([...codes.stats.scale]).toEqual([...wanted.stats.scale]);
    await encoder.close();
  });

  it("knows how long what an activation adds is", async () => {
    const sae = saeOf("abstopk", { rescaleActsByDecoderNorm: true });
    const scaled = await RowEncoder.open(sae, 1);
    expect([...scaled.directionLengths()]).toEqual(Array.from({ length: H }, () => 1));
    await scaled.close();
    const plain = await RowEncoder.open(saeOf("standard"), 1);
    const { wDec } = plain.codec.sae;
    expect(plain.directionLengths()[3]).toBeCloseTo(Math.hypot(...wDec.subarray(3 * D, 4 * D)), 5);
    await plain.close();
  });
});

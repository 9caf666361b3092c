import { describe, expect, test } from "vitest";
import { decoderNorms, denseOf, foldDecoderNorms, foldGate, SaeCodec } from "../../src/index.ts";
import { largestDifference, noise, randomSae } from "../support.ts";

const x = noise(7 * 6, 3).map((value) => value * 4);

describe("folding decoder norms", () => {
  test("leaves unit rows and the same reconstructions, for every architecture that allows it", () => {
    for (const changes of [{ architecture: "standard" }, { architecture: "jumprelu" }, { architecture: "gated" }, { architecture: "topk", k: 3, rescaleActsByDecoderNorm: true }, { architecture: "abstopk", k: 3, rescaleActsByDecoderNorm: true }] as const) {
      const sae = randomSae({ ...changes, normalizeActivations: "layer_norm" });
      const folded = foldDecoderNorms(sae);
      expect(largestDifference(decoderNorms(folded), new Float32Array(10).fill(1))).toBeLessThan(1e-6);
      const before = new SaeCodec(sae);
      const after = new SaeCodec(folded);
      expect(largestDifference(after.reconstruct(x), before.reconstruct(x))).toBeLessThan(1e-5);
      expect([...denseOf(after.encodeRows(x))].map((value) => value !== 0)).toEqual([...denseOf(before.encodeRows(x))].map((value) => value !== 0));
    }
  });

  test("is refused where it would change the selection", () => {
    expect(() => foldDecoderNorms(randomSae({ architecture: "topk", k: 3 }))).toThrow(/rescale_acts_by_decoder_norm; got false, wanted true/);
  });
});

describe("folding a gate", () => {
  test("leaves a jumprelu SAE with the same activations", () => {
    const gated = randomSae({ architecture: "gated", normalizeActivations: "layer_norm" });
    const folded = foldGate(gated);
    expect(folded.config.architecture).toBe("jumprelu");
    expect(folded.gate).toBeUndefined();
    const [before, after] = [denseOf(new SaeCodec(gated).encodeRows(x)), denseOf(new SaeCodec(folded).encodeRows(x))];
    expect(before.some((value) => value > 0) && before.some((value) => value === 0)).toBe(true);
    expect(largestDifference(after, before)).toBeLessThan(1e-5);
    expect([...after].map((value) => value > 0)).toEqual([...before].map((value) => value > 0));
  });

  test("leaves SAEs without one as they are", () => {
    const sae = randomSae({ architecture: "standard" });
    expect(foldGate(sae)).toBe(sae);
  });
});

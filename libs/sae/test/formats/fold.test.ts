import { describe, expect, test } from "vitest";
import { decoderNorms, denseOf, foldDecoderNorms, SaeCodec } from "../../src/index.ts";
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

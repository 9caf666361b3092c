import { openEngine } from "../../src/client/open-engine.ts";

/** Cosine of the logits of two models at all positions of some tokens. */
export async function compare(modelDir: string, otherDir: string): Promise<number> {
  const tokens = Uint32Array.from({ length: 40 }, (_, i) => (i * 37 + 1) % 96);
  const [a, b] = await Promise.all(
    [modelDir, otherDir].map(async (dir) => {
      const engine = await openEngine({ modelDir: dir, threads: 1 });
      const { logits } = await engine.logits({ tokens }, { positions: "all" });
      await engine.close();
      return logits;
    }),
  );
  const dot = (x: Float32Array, y: Float32Array): number => x.reduce((sum, value, i) => sum + value * y[i]!, 0);
  return a === undefined || b === undefined ? Number.NaN : dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
}

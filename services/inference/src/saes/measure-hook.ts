import type { Engine } from "@mistral-sae/model";

/** How an SAE does at one hook, special tokens left out. */
export interface HookMeasure {
  readonly hookName: string;
  /** Σ‖h − h'‖² / Σ‖h − mean‖². */
  readonly fvu: number;
  readonly nTokens: number;
  /** Mean of ‖h‖. */
  readonly residNormMean: number;
}

/** Sequences and which of their tokens count. */
export interface ProbeSequence {
  readonly tokens: Uint32Array;
  /** One bit a token, least significant first. */
  readonly isSpecial: Uint8Array;
}

/** Reads residuals at a hook with and without the SAE's reconstruction in their place. Sums are f64. */
export async function measureHook(engine: Engine, sae: string, hookName: string, sequences: readonly ProbeSequence[], signal?: AbortSignal): Promise<HookMeasure> {
  const { dModel } = engine.info;
  const sum = new Float64Array(dModel);
  let squares = 0;
  let errors = 0;
  let norms = 0;
  let n = 0;
  const edited = sequences.map(({ tokens }) => ({ tokens, edits: [{ id: "probe", hook: hookName, method: "reconstruct" as const, sae }] }));
  const options = { taps: [{ hook: hookName }, { hook: hookName, afterEdits: true }], ...(signal === undefined ? {} : { signal }) };
  for await (const batch of engine.forward(edited, options)) {
    const [before, after] = batch.residuals as readonly [Float32Array, Float32Array];
    for (const [i, index] of batch.sequences.entries()) {
      const { isSpecial } = sequences[index] as ProbeSequence;
      const first = batch.offsets[i] ?? 0;
      for (let row = first; row < (batch.offsets[i + 1] ?? 0); row++) {
        const position = row - first;
        if (((isSpecial[position >>> 3] ?? 0) >>> (position & 7)) & 1) continue;
        let square = 0;
        for (let d = 0, at = row * dModel; d < dModel; d++, at++) {
          const h = before[at] as number;
          const difference = h - (after[at] as number);
          sum[d] = (sum[d] as number) + h;
          square += h * h;
          errors += difference * difference;
        }
        squares += square;
        norms += Math.sqrt(square);
        n++;
      }
    }
  }
  let mean = 0;
  for (const value of sum) mean += value * value;
  const variance = squares - mean / Math.max(n, 1);
  return { hookName, nTokens: n, fvu: variance > 0 ? errors / variance : Number.NaN, residNormMean: n > 0 ? norms / n : 0 };
}

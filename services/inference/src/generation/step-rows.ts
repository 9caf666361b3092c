import type { StepResult, Tap, Trace } from "@mistral-sae/model";
import { rowBounds, type SparseRows } from "@mistral-sae/tensor";

/** Names a tap, so that requests which read the same one share it. */
export function tapKey({ hook, afterEdits }: Tap): string {
  return `${hook} ${afterEdits === true ? "after" : "before"}`;
}

/** Names a trace, so that requests which follow the same features share it. */
export function traceKey({ sae, hook, features, topK }: Trace): string {
  return JSON.stringify([sae, hook, features, topK]);
}

/** Taps or traces of several requests, each once. */
export function distinct<T>(items: Iterable<T>, keyOf: (item: T) => string): T[] {
  return [...new Map(Array.from(items, (item) => [keyOf(item), item])).values()];
}

/** One step's results, with residuals and codes found by what was asked for. */
export class StepRows {
  readonly result: StepResult;
  readonly #taps: ReadonlyMap<string, Float32Array>;
  readonly #codes: ReadonlyMap<string, SparseRows>;

  constructor(result: StepResult, taps: readonly Tap[], traces: readonly Trace[]) {
    this.result = result;
    this.#taps = new Map(taps.map((tap, i) => [tapKey(tap), result.residuals[i] as Float32Array]));
    this.#codes = new Map(traces.map((trace, i) => [traceKey(trace), result.codes[i] as SparseRows]));
  }

  /** Residual rows [first, first + count): a view. */
  residuals(tap: string, first: number, count: number): Float32Array {
    const all = this.#taps.get(tap);
    if (all === undefined) throw new Error(`no residual was read for ${tap}`);
    const width = all.length / (this.result.offsets.at(-1) as number);
    return all.subarray(first * width, (first + count) * width);
  }

  /** The code of one residual row: strongest first, silent features left out. */
  code(trace: string, row: number): SparseRows {
    const codes = this.#codes.get(trace);
    if (codes === undefined) throw new Error(`no code was read for ${trace}`);
    const [from, to] = rowBounds(codes, row);
    const order: number[] = [];
    for (let i = from; i < to; i++) if (codes.values[i] !== 0) order.push(i);
    order.sort((a, b) => (codes.values[b] as number) - (codes.values[a] as number));
    return {
      nTokens: 1,
      k: order.length,
      dSae: codes.dSae,
      indices: Uint32Array.from(order, (i) => codes.indices[i] as number),
      values: Float32Array.from(order, (i) => codes.values[i] as number),
    };
  }
}

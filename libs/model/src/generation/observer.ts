import type { SparseRows } from "@mistral-sae/tensor";
import type { Trace } from "../engine.ts";
import { residualPoint } from "../hooks/hook-name.ts";
import type { ModelRuntime } from "../runtime/model-runtime.ts";
import type { SiteTap } from "../runtime/pass.ts";
import { filterCodes } from "../sae/filter-codes.ts";
import { joinCodes, sliceCodes } from "../sae/sparse-builder.ts";
import type { StepReport } from "../worker/protocol.ts";
import { joinRows } from "./join-rows.ts";

/**
 * Collects what a step is to report beside its tokens: taps and codes, row by row of the call, each row's in the order
 * of its positions.
 */
export class Observer {
  /** What a pass must read: the taps, then the points of the traces. */
  readonly sites: readonly SiteTap[];
  readonly #runtime: ModelRuntime;
  readonly #report: StepReport;
  /** [tap][row] runs of rows. */
  readonly #residuals: Float32Array[][][];
  readonly #codes: SparseRows[][][];
  readonly #counts: Uint32Array;

  constructor(runtime: ModelRuntime, report: StepReport, nRows: number) {
    const traced = report.traces.map(({ sae, hook, features }, i): SiteTap => {
      const loaded = runtime.sae(sae);
      for (const feature of features ?? []) loaded.decoderRow(feature, `traces[${i}].features`);
      return { site: { kind: "residual", point: residualPoint(hook, runtime.nLayers, `traces[${i}].hook`), width: runtime.dModel }, afterEdits: false };
    });
    this.#runtime = runtime;
    this.#report = report;
    this.sites = [...runtime.sites(report.taps), ...traced];
    const lists = <T>(count: number): T[][][] => Array.from({ length: count }, () => Array.from({ length: nRows }, () => []));
    this.#residuals = lists(report.taps.length);
    this.#codes = lists(report.traces.length);
    this.#counts = new Uint32Array(nRows);
  }

  /** Takes what a pass read at {@link sites}, [B, S, width] each: `count` rows from row `at` on, for row `row` of the call. */
  async take(read: readonly Float32Array[], parts: readonly { readonly row: number; readonly at: number; readonly count: number }[]): Promise<void> {
    const rowsOf = (i: number, at: number, count: number): Float32Array => {
      const { width } = this.sites[i]!.site;
      return read[i]!.slice(at * width, (at + count) * width);
    };
    for (const { row, at, count } of parts) {
      this.#counts[row] = this.#counts[row]! + count;
      for (const [i, list] of this.#residuals.entries()) list[row]!.push(rowsOf(i, at, count));
    }
    for (const [i, list] of this.#codes.entries()) {
      const rows = joinRows(parts.map(({ at, count }) => rowsOf(this.#residuals.length + i, at, count)));
      const code = await encodeTrace(this.#runtime, this.#report.traces[i]!, rows, rows.length / this.#runtime.dModel);
      let start = 0;
      for (const { row, count } of parts) list[row]!.push(sliceCodes(code, start, (start += count)));
    }
  }

  /** All that was taken. */
  result(): { residuals: Float32Array[]; codes: SparseRows[]; offsets: Uint32Array } {
    const offsets = new Uint32Array(this.#counts.length + 1);
    for (const [row, count] of this.#counts.entries()) offsets[row + 1] = offsets[row]! + count;
    const codes = this.#codes.map((list, i) => joinCodes([...list.flat(), noCodes(this.#runtime, this.#report.traces[i]!)]));
    return { residuals: this.#residuals.map((list) => joinRows(list.flat())), codes, offsets };
  }
}

async function encodeTrace(runtime: ModelRuntime, trace: Trace, rows: Float32Array, count: number): Promise<SparseRows> {
  const { code } = await runtime.sae(trace.sae).encode(rows, count, trace.features === undefined ? (trace.topK ?? 0) : 0);
  return trace.features === undefined ? code : filterCodes(code, new Set(trace.features));
}

/** Codes of no rows, so that joining always has something to start from. */
function noCodes(runtime: ModelRuntime, trace: Trace): SparseRows {
  const { k, dSae } = runtime.sae(trace.sae).sae;
  return { nTokens: 0, k, dSae, indices: new Uint32Array(), values: new Float32Array() };
}

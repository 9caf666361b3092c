import type { PrefillResult, SlotId } from "../engine.ts";
import { makeBatch, type Batch } from "../runtime/batch.ts";
import type { ModelRuntime } from "../runtime/model-runtime.ts";
import { settleCache } from "../runtime/pass.ts";
import type { StepReport } from "../worker/protocol.ts";
import { chooseNext } from "./choose.ts";
import type { ChunkPacer } from "./chunk-pacer.ts";
import { Observer } from "./observer.ts";
import { planRows, type RowPlan } from "./prefill-plan.ts";
import { Slot } from "./slot.ts";
import type { Slots } from "./slots.ts";
import type { PrefillInput } from "../worker/protocol.ts";

interface Row {
  readonly plan: RowPlan;
  slot: Slot | undefined;
  /** Tokens that are cached. */
  done: number;
  /** [dVocab] after the last token, once it has run; undefined where the head has to be run for it. */
  logits: Float32Array | undefined;
}

/**
 * Fills slots for the rows of one call, a bounded piece of work at a time. Whole short prompts run together, padded;
 * longer ones run in chunks, row by row, because grouped-query attention takes a batch of one when it continues.
 */
export class PrefillJob {
  readonly #runtime: ModelRuntime;
  readonly #slots: Slots;
  readonly #report: StepReport;
  readonly #batchTokens: number;
  readonly #pacer: ChunkPacer;
  readonly #rows: readonly Row[];
  readonly #observer: Observer;

  constructor(runtime: ModelRuntime, slots: Slots, inputs: readonly PrefillInput[], report: StepReport, { batchTokens, pacer }: { readonly batchTokens: number; readonly pacer: ChunkPacer }) {
    this.#runtime = runtime;
    this.#slots = slots;
    this.#report = report;
    this.#batchTokens = batchTokens;
    this.#pacer = pacer;
    this.#rows = planRows(runtime, slots, inputs).map((plan) => ({ plan, slot: undefined, done: 0, logits: undefined }));
    this.#observer = new Observer(runtime, report, inputs.length);
  }

  /** Does one piece of work; the result comes with the last one. */
  async step(): Promise<PrefillResult | undefined> {
    const { chunk, interleaved } = this.#pacer.next();
    const fresh = this.#startRows(chunk, interleaved ? chunk : this.#batchTokens);
    if (fresh.length > 0) await this.#runFresh(fresh, chunk);
    else {
      const open = this.#rows.find((row) => row.slot !== undefined && row.done < row.plan.tokens.length);
      if (open !== undefined) await this.#runChunk(open, chunk);
    }
    return this.#rows.every(finished) ? await this.#finish() : undefined;
  }

  /** Gives back what has been taken. */
  cancel(): void {
    for (const row of this.#rows) {
      if (row.slot !== undefined) this.#runtime.cache.release(row.slot.cache);
      row.slot = undefined;
    }
  }

  /** Forks the rows whose source is ready, and takes as many whole prompts as fit a batch. */
  #startRows(chunk: number, batchTokens: number): Row[] {
    const fresh: Row[] = [];
    let longest = 0;
    for (const row of this.#rows) {
      if (row.slot !== undefined) continue;
      const { plan } = row;
      const source = plan.reuse === undefined ? undefined : plan.reuse.row === undefined ? plan.reuse.slot : this.#ready(plan.reuse.row);
      if (plan.reuse !== undefined && source === undefined) continue;
      const length = Math.min(plan.tokens.length, chunk);
      if (source === undefined) {
        longest = Math.max(longest, length);
        if (fresh.length > 0 && (fresh.length + 1) * longest > batchTokens) continue;
        fresh.push(row);
      }
      row.slot = this.#openSlot(row, source);
    }
    return fresh;
  }

  #ready(index: number): Slot | undefined {
    const row = this.#rows[index];
    return row !== undefined && finished(row) ? row.slot : undefined;
  }

  #openSlot(row: Row, source: Slot | undefined): Slot {
    const { cache, source: model, dModel } = this.#runtime;
    const { tokens, promptLength, edits, sampling, endIds, shared } = row.plan;
    const room = Math.min(tokens.length + 1, model.nCtx);
    const place = source === undefined ? cache.allocate(room) : cache.fork(source.cache, shared, room);
    const slot = new Slot(tokens, place, { nCtx: model.nCtx, dModel, promptLength, edits, sampling, endIds });
    row.done = shared;
    if (source !== undefined && shared === tokens.length) slot.last.set(source.last);
    return slot;
  }

  async #runFresh(rows: readonly Row[], chunk: number): Promise<void> {
    const batch = makeBatch(
      rows.map(({ plan }) => ({ tokens: plan.tokens.subarray(0, chunk), past: 0, edits: plan.edits })),
      { kind: "fresh", rows: rows.map((row) => row.slot!.cache) },
    );
    await this.#run(batch, rows);
  }

  async #runChunk(row: Row, chunk: number): Promise<void> {
    const { cache } = row.slot!;
    const batch = makeBatch([{ tokens: row.plan.tokens.subarray(row.done, row.done + chunk), past: row.done, edits: row.plan.edits }], {
      kind: "rows",
      arena: cache.arena,
      first: cache.row,
      rows: [cache],
    });
    await this.#run(batch, [row]);
  }

  async #run(batch: Batch, rows: readonly Row[]): Promise<void> {
    const { dModel } = this.#runtime;
    const began = performance.now();
    const ends = rows.some((row, b) => row.plan.tokens.length === row.done + batch.lengths[b]!);
    const { resid, taps, logits } = await this.#runtime.passToEnd(batch, this.#observer.sites, ends);
    const { dVocab } = this.#runtime.source.config;
    settleCache(batch);
    this.#pacer.ran(batch.size * batch.steps, performance.now() - began);
    for (const [b, row] of rows.entries()) {
      const count = batch.lengths[b]!;
      row.done += count;
      const last = (b * batch.steps + count - 1) * dModel;
      row.slot!.last.set(resid.subarray(last, last + dModel));
      if (finished(row)) row.logits = logits?.subarray(b * dVocab, (b + 1) * dVocab);
    }
    await this.#observer.take(taps, rows.map((row, b) => ({ row: this.#rows.indexOf(row), at: b * batch.steps, count: batch.lengths[b]! })));
  }

  async #finish(): Promise<PrefillResult> {
    const members = this.#rows.map((row) => row.slot!);
    const chosen = await chooseNext(this.#runtime, members, this.#rows.map((row) => row.logits), this.#rows.map(({ plan }) => plan.klFromRow), this.#report.withLogits);
    const [fault] = chosen.faults;
    if (fault !== undefined) throw new Error(fault.message);
    const edited = Uint8Array.from(this.#rows, ({ plan }) => plan.edits?.editedAt(0) ?? 0);
    const endedBy = Int32Array.from(this.#rows, ({ plan }) => plan.edits?.endedBy ?? -1);
    const slots = members.map((slot): SlotId => this.#slots.add(slot));
    return { ...chosen, edited, endedBy, ...this.#observer.result(), slots, reusedTokens: Uint32Array.from(this.#rows, ({ plan }) => plan.shared) };
  }
}

function finished(row: Row): boolean {
  return row.slot !== undefined && row.done === row.plan.tokens.length;
}

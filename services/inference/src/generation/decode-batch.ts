import type { DecodeRow, Engine, StepResult, Tap, Trace } from "@mistral-sae/model";
import type { Seat } from "./seat.ts";
import { distinct, StepRows, tapKey, traceKey } from "./step-rows.ts";
import type { VariantRun } from "./variant-run.ts";

/** The rows of one decoding step. Its lists are used again from step to step. */
export class DecodeBatch {
  readonly #engine: Engine;
  /** Seats with a row in the step, each once. */
  readonly seats: Seat[] = [];
  /** One a row: whose it is. */
  readonly #owners: Seat[] = [];
  readonly #variants: VariantRun[] = [];
  readonly #rows: DecodeRow[] = [];

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  /** Takes every variant that can go on; those of readers that are behind pause. Returns whether there is any. */
  collect(active: Iterable<Seat>): boolean {
    this.seats.length = 0;
    this.#owners.length = 0;
    this.#variants.length = 0;
    this.#rows.length = 0;
    for (const seat of active) {
      const { generation } = seat;
      if (generation.events.full) continue;
      const before = this.#rows.length;
      for (const variant of generation.plan.variants) {
        if (variant.slot === undefined || !generation.needs(variant)) continue;
        this.#owners.push(seat);
        this.#variants.push(variant);
        this.#rows.push(generation.decodeRow(variant));
      }
      if (this.#rows.length > before) this.seats.push(seat);
    }
    return this.#rows.length > 0;
  }

  /** Rows of the step. */
  get size(): number {
    return this.#rows.length;
  }

  /** Decodes every row, one token or as many as a run of the engine makes, and hands out what came of it. `failed` ends a generation that has none. */
  async run(failed: (seat: Seat, error: Error) => void): Promise<void> {
    const observed = this.#observed();
    const steps = Math.min(this.#engine.info.decodeSteps, ...this.#variants.map(({ remaining }) => remaining));
    const results = steps > 1 ? await this.#engine.decodeRun(this.#rows, steps, observed) : [await this.#engine.decode(this.#rows, observed)];
    for (const result of results) this.#hand(result, observed, failed);
  }

  #hand(result: StepResult, { taps, traces }: Observed, failed: (seat: Seat, error: Error) => void): void {
    const rows = new StepRows(result, taps, traces);
    for (const { row, message } of result.faults) {
      const seat = this.#owners[row];
      if (seat?.state === "decoding") failed(seat, new Error(message));
    }
    for (const [i, variant] of this.#variants.entries()) {
      const seat = this.#owners[i];
      // Whoever left while the step ran has given its slot back; who ended within a run has no use for what followed.
      if (seat?.state === "decoding" && variant.slot === this.#rows[i]?.slot && seat.generation.needs(variant)) seat.generation.stepped(variant, i, rows);
    }
  }

  #observed(): Observed {
    if (this.seats.every(({ generation }) => generation.stepTaps.length === 0 && generation.stepTraces.length === 0)) return nothing;
    return {
      taps: distinct(
        this.seats.flatMap(({ generation }) => generation.stepTaps),
        tapKey,
      ),
      traces: distinct(
        this.seats.flatMap(({ generation }) => generation.stepTraces),
        traceKey,
      ),
    };
  }
}

/** What a step reads beside its tokens. */
interface Observed {
  readonly taps: readonly Tap[];
  readonly traces: readonly Trace[];
}

const nothing: Observed = { taps: [], traces: [] };

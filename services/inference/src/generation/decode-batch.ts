import { type DecodeRow, type Engine, noToken, type StepResult, type Tap, type Trace } from "@mistral-sae/model";
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

  /**
   * Decodes every row, one token or as many as a run of the engine makes, and yields whenever it has handed out what came of
   * it. `failed` ends a generation that has none. As long as the rows stay as they are and `goesOn` agrees, the next step is
   * asked for before the one under way has been looked at, so that the engine never waits for this thread.
   */
  async *run(failed: (seat: Seat, error: Error) => void, goesOn: () => boolean): AsyncGenerator<void, void, undefined> {
    const observed = this.#observed();
    let left = Math.min(...this.#variants.map(({ remaining }) => remaining));
    const steps = Math.min(this.#engine.info.decodeSteps, left);
    if (steps > 1) {
      for (const result of await this.#engine.decodeRun(this.#rows, steps, observed)) this.#hand(result, observed, failed);
      yield;
      return;
    }
    const ahead = observed === nothing && this.#variants.every((variant) => variant.bearsAhead) && this.seats.every(({ generation }) => !generation.plan.withKl);
    let step: Promise<StepResult> | undefined = this.#engine.decode(this.#rows, observed);
    for (; step !== undefined; left--) {
      let next: Promise<StepResult> | undefined = ahead && left > 1 && goesOn() && this.#steady() ? this.#engine.decode(this.#again(), skipEnded) : undefined;
      // Its failure is met when its turn comes.
      next?.catch(() => undefined);
      let result: StepResult;
      try {
        result = await step;
      } catch (error) {
        // A step without memory has fed nothing. If the one behind it found some, that has chosen these very tokens.
        if (next === undefined) throw error;
        result = await next.catch(() => Promise.reject(error as Error));
        next = undefined;
      }
      this.#hand(result, observed, failed);
      yield;
      step = next;
    }
  }

  /** Whether every row would decode again as far as is known. */
  #steady(): boolean {
    return this.#variants.every((variant, i) => {
      const seat = this.#owners[i];
      return seat?.state === "decoding" && variant.slot === this.#rows[i]?.slot && !seat.generation.events.full && seat.generation.needs(variant);
    });
  }

  /** The same rows, to be fed what was chosen for them. */
  #again(): DecodeRow[] {
    return this.#rows.map(({ slot }) => ({ slot }));
  }

  #hand(result: StepResult, { taps, traces }: Observed, failed: (seat: Seat, error: Error) => void): void {
    const rows = new StepRows(result, taps, traces);
    for (const { row, message } of result.faults) {
      const seat = this.#owners[row];
      if (seat?.state === "decoding") failed(seat, new Error(message));
    }
    for (const [i, variant] of this.#variants.entries()) {
      if (result.tokens[i] === noToken) continue;
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

const skipEnded = { skipEnded: true } as const;

const nothing: Observed = { taps: [], traces: [] };

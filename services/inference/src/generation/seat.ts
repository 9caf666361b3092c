import type { Place } from "./admission.ts";
import type { Generation } from "./generation.ts";
import type { Prefix } from "./prefix-cache.ts";
import type { VariantRun } from "./variant-run.ts";

/** Where a generation is on its way through the batch. */
export type SeatState = "waiting" | "prefilling" | "decoding" | "ended";

/** A generation and what the scheduler holds for it. */
export class Seat {
  readonly generation: Generation;
  readonly place: Place;
  /** Memory of one row at its longest. */
  readonly rowBytes: number;
  /** When it was admitted, in milliseconds of performance.now(). */
  readonly admittedAt: number;
  state: SeatState = "waiting";
  /** Rows that it holds. */
  rows = 0;
  /** Whether it has run before, and goes on where it was. */
  begun = false;
  firstTokenAt: number | undefined;
  /** The prefix that others may take from one of its variants. */
  offered: { readonly variant: VariantRun; readonly prefix: Prefix } | undefined;

  constructor(generation: Generation, place: Place, rowBytes: number, admittedAt: number) {
    this.generation = generation;
    this.place = place;
    this.rowBytes = rowBytes;
    this.admittedAt = admittedAt;
  }

  get tenant(): string {
    return this.place.load.tenant;
  }
}

import type { Engine } from "@mistral-sae/model";
import { type RpcError, resourceExhausted } from "@mistral-sae/rpc";
import type { Generation } from "./generation.ts";
import { distinct, StepRows, tapKey, traceKey } from "./step-rows.ts";
import type { VariantRun } from "./variant-run.ts";

/** Limits of a scheduler. */
export interface SchedulerLimits {
  /** Rows that hold a slot at a time. */
  readonly maxRows: number;
  /** Generations that may wait for rows. */
  readonly maxQueued: number;
}

/** A place in the queue, taken before a request's text is looked at. */
export interface Ticket {
  /** Queues the generation, or gives the place back when there is none. */
  use(generation: Generation): void;
  release(): void;
}

const RETRY_MS = 1000;

/**
 * Continuous batching: every step decodes one token of all generations at work, while prompts of new ones are read
 * in between. Generations start in the order they came, as rows become free; one that is cancelled, or whose reader
 * is gone, leaves at the next step.
 */
export class Scheduler {
  readonly #engine: Engine;
  readonly #limits: SchedulerLimits;
  /** Says what an error of the engine means to a caller. */
  readonly #explain: (error: unknown) => unknown;
  readonly #queue: Generation[] = [];
  readonly #active = new Set<Generation>();
  #tickets = 0;
  #rowsInUse = 0;
  #looping = false;
  /** Set while a prompt waits for memory that others hold. */
  #cacheFull = false;
  #wake: (() => void) | undefined;
  #closed: RpcError | undefined;

  constructor(engine: Engine, limits: SchedulerLimits, explain: (error: unknown) => unknown) {
    this.#engine = engine;
    this.#limits = limits;
    this.#explain = explain;
  }

  /** Rows that hold a slot or are about to, and generations that wait. */
  get load(): { readonly rows: number; readonly queued: number; readonly active: number } {
    return { rows: this.#rowsInUse, queued: this.#queue.length, active: this.#active.size };
  }

  /** Takes a place in the queue. @throws RESOURCE_EXHAUSTED CONCURRENCY_LIMIT when it is full. */
  admit(): Ticket {
    if (this.#closed !== undefined) throw this.#closed;
    const waiting = this.#queue.length + this.#tickets;
    // A generation takes at least one row: what the free rows can take at once does not wait.
    if (waiting >= this.#limits.maxQueued + Math.max(0, this.#limits.maxRows - this.#rowsInUse)) {
      throw resourceExhausted("CONCURRENCY_LIMIT", `${waiting} generations wait already, ${this.#limits.maxQueued} may; try again later`, RETRY_MS);
    }
    this.#tickets++;
    let open = true;
    const release = () => {
      if (open) this.#tickets--;
      open = false;
    };
    return {
      release,
      use: (generation) => {
        release();
        this.#submit(generation);
      },
    };
  }

  /** Ends every generation with an error and takes no more. */
  close(error: RpcError): void {
    this.#closed = error;
    for (const generation of [...this.#queue.splice(0), ...this.#active]) generation.events.end(error);
    this.#wakeUp();
  }

  #submit(generation: Generation): void {
    if (this.#closed !== undefined) {
      generation.events.end(this.#closed);
      return;
    }
    this.#queue.push(generation);
    generation.events.onDrained = () => this.#wakeUp();
    generation.plan.signal.addEventListener("abort", () => this.#wakeUp(), { once: true });
    if (this.#looping) {
      this.#wakeUp();
    } else {
      this.#looping = true;
      void this.#loop();
    }
  }

  #wakeUp(): void {
    this.#wake?.();
  }

  async #loop(): Promise<void> {
    while (this.#queue.length > 0 || this.#active.size > 0 || this.#rowsInUse > 0) {
      this.#dropAborted();
      this.#startQueued();
      // Armed before the state is looked at, so that what changes meanwhile is not missed.
      const woken = new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      const stepped = await this.#step();
      if (!stepped && (this.#queue.length > 0 || this.#active.size > 0 || this.#rowsInUse > 0)) await woken;
      this.#wake = undefined;
    }
    this.#looping = false;
  }

  #dropAborted(): void {
    for (let i = this.#queue.length - 1; i >= 0; i--) {
      const generation = this.#queue[i] as Generation;
      if (!generation.plan.signal.aborted) continue;
      this.#queue.splice(i, 1);
      generation.events.end(generation.plan.signal.reason);
    }
    for (const generation of this.#active) if (generation.plan.signal.aborted) this.#drop(generation, generation.plan.signal.reason);
  }

  /** Ends a generation at work and gives its slots back. */
  #drop(generation: Generation, error: unknown): void {
    this.#active.delete(generation);
    generation.events.end(error);
    for (const variant of generation.plan.variants) {
      const { slot } = variant;
      if (slot === undefined) continue;
      variant.slot = undefined;
      this.#free(slot);
    }
  }

  #free(slot: number): void {
    void this.#engine
      .free([slot])
      .catch(() => undefined)
      .finally(() => {
        this.#cacheFull = false;
        this.#releaseRows(1);
      });
  }

  #releaseRows(rows: number): void {
    this.#rowsInUse -= rows;
    this.#wakeUp();
  }

  #startQueued(): void {
    for (let head = this.#queue[0]; head !== undefined; head = this.#queue[0]) {
      if (this.#cacheFull || this.#rowsInUse + head.rows > this.#limits.maxRows) return;
      this.#queue.shift();
      this.#rowsInUse += head.rows;
      void this.#prefill(head);
    }
  }

  async #prefill(generation: Generation): Promise<void> {
    const taps = generation.promptTaps;
    try {
      const result = await this.#engine.prefill(generation.prefillRows(), { taps, signal: generation.plan.signal });
      generation.prefilled(result, new StepRows(result, this.#engine.info.dModel, taps, []));
      this.#active.add(generation);
      if (this.#closed !== undefined) this.#drop(generation, this.#closed);
      this.#retireDone(generation);
      this.#wakeUp();
    } catch (error) {
      this.#releaseRows(generation.rows);
      this.#prefillFailed(generation, error);
    }
  }

  /** Without memory for its cache a generation waits for others to end; with none to wait for, it is refused. */
  #prefillFailed(generation: Generation, error: unknown): void {
    if (isCacheFull(error)) {
      if (this.#rowsInUse > 0 && this.#closed === undefined) {
        this.#queue.unshift(generation);
        this.#cacheFull = true;
        return;
      }
      generation.events.end(resourceExhausted("MEMORY_BUDGET", error.message, RETRY_MS));
      return;
    }
    generation.events.end(this.#explain(error));
  }

  /** Decodes one token of everything that can go on. Returns whether there was anything. */
  async #step(): Promise<boolean> {
    const rows: { readonly generation: Generation; readonly variant: VariantRun; readonly together: readonly VariantRun[] }[] = [];
    const participants: Generation[] = [];
    for (const generation of this.#active) {
      const together = generation.running();
      if (together.length === 0) continue;
      participants.push(generation);
      for (const variant of together) rows.push({ generation, variant, together });
    }
    if (rows.length === 0) return false;
    const taps = distinct(
      participants.flatMap(({ stepTaps }) => stepTaps),
      tapKey,
    );
    const traces = distinct(
      participants.flatMap(({ stepTraces }) => stepTraces),
      traceKey,
    );
    try {
      const result = await this.#engine.decode(
        rows.map(({ generation, variant, together }) => generation.decodeRow(variant, together)),
        { taps, traces },
      );
      const stepRows = new StepRows(result, this.#engine.info.dModel, taps, traces);
      for (const [i, { generation, variant }] of rows.entries()) {
        if (variant.slot !== undefined) generation.stepped(variant, i, stepRows);
      }
      for (const generation of participants) this.#retireDone(generation);
    } catch (error) {
      this.#stepFailed(participants, error);
    }
    return true;
  }

  /** Without memory for one more token the generation that began last gives way to the others. */
  #stepFailed(participants: readonly Generation[], error: unknown): void {
    if (isCacheFull(error)) {
      const last = participants.at(-1);
      if (last !== undefined) this.#drop(last, resourceExhausted("MEMORY_BUDGET", error.message, RETRY_MS));
      return;
    }
    for (const generation of participants) this.#drop(generation, this.#explain(error));
  }

  /** Gives back the slots of variants that have ended, after asking what their edits did. */
  #retireDone(generation: Generation): void {
    for (const variant of generation.plan.variants) {
      const { slot } = variant;
      if (!variant.done || slot === undefined) continue;
      variant.slot = undefined;
      const proofs = variant.placed.length === 0 ? Promise.resolve([]) : this.#engine.proofs(slot);
      void proofs
        .then((found) => generation.retired(variant, found))
        .catch((error: unknown) => this.#drop(generation, this.#explain(error)))
        .finally(() => this.#free(slot));
    }
    if (generation.plan.variants.every(({ done }) => done)) this.#active.delete(generation);
  }
}

function isCacheFull(error: unknown): error is Error {
  return error instanceof Error && error.name === "CacheFullError";
}

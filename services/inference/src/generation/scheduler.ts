import type { Engine, PrefillResult, SlotId, Tap } from "@mistral-sae/model";
import { resourceExhausted, RpcError } from "@mistral-sae/rpc";
import { Admission, type AdmissionLimits, type Load, RETRY_MS } from "./admission.ts";
import { DecodeBatch } from "./decode-batch.ts";
import { FairQueue } from "./fair-queue.ts";
import type { Generation } from "./generation.ts";
import { requireMemory } from "./load.ts";
import { SchedulerMetrics } from "./metrics.ts";
import { PrefixCache } from "./prefix-cache.ts";
import { Seat } from "./seat.ts";
import { StepRows } from "./step-rows.ts";
import type { VariantRun } from "./variant-run.ts";

/** Limits of a scheduler. */
export interface SchedulerLimits extends AdmissionLimits {
  /** Rows that hold a slot at a time. */
  readonly maxRows: number;
  /** Whether prompts share what earlier ones have left in the cache. */
  readonly prefixCache: boolean;
}

/** A place in the queue, taken before a request's text is looked at. */
export interface Ticket {
  /** Queues the generation. @throws INVALID_ARGUMENT MEMORY_BUDGET when it can never fit. */
  use(generation: Generation): void;
  /** Gives the place back when there is no generation. */
  release(): void;
}

/** What a scheduler holds. */
export interface SchedulerLoad {
  /** Rows that hold a slot or are about to. */
  readonly rows: number;
  /** Generations that wait. */
  readonly queued: number;
  /** Generations that hold rows. */
  readonly active: number;
  /** Keys and values that the rows may come to need, bytes. */
  readonly reservedBytes: number;
  /** Keys and values kept for prompts to come, bytes. */
  readonly prefixBytes: number;
  /** Prefixes kept. */
  readonly prefixes: number;
}

/** Prompts under way at a time: one that runs and one that waits, so that the engine never idles between them. */
const MOST_PREFILLS = 2;
/** What a generated token costs a tenant, in tokens of a prompt: each is a pass over all weights. */
const OUTPUT_WEIGHT = 2;

/**
 * Continuous batching: every step decodes one token of all generations at work, while prompts of new ones are read in
 * between. Whose turn it is follows from what each tenant was given; a generation that is cancelled gives its slots
 * back at once. Rows reserve the memory that they need at their longest, because what was computed once on a CPU is too
 * dear to be thrown away; only where the engine's layout takes more than the sum is the newest generation set back, and
 * goes on later where it was.
 */
export class Scheduler {
  readonly #engine: Engine;
  readonly #limits: SchedulerLimits;
  /** Says what an error of the engine means to a caller. */
  readonly #explain: (error: unknown) => unknown;
  readonly #admission: Admission;
  readonly #queue = new FairQueue<Seat>();
  /** Without memory for now; they go on before anything new starts. */
  readonly #setBack: Seat[] = [];
  /** In the order in which they started. */
  readonly #active = new Set<Seat>();
  readonly #prefixes: PrefixCache | undefined;
  readonly #batch: DecodeBatch;
  readonly #metrics: SchedulerMetrics;
  #prefilling = 0;
  #rows = 0;
  #reserved = 0;
  #stepping = false;
  /** Set when a generation joins, so that the steps take it along. */
  #joined = false;
  /** Set while a prompt waits for memory that others hold. */
  #held = false;
  #closed: RpcError | undefined;

  constructor(name: string, engine: Engine, limits: SchedulerLimits, explain: (error: unknown) => unknown) {
    this.#engine = engine;
    this.#limits = limits;
    this.#explain = explain;
    this.#admission = new Admission(limits);
    this.#prefixes = limits.prefixCache ? new PrefixCache(engine) : undefined;
    this.#batch = new DecodeBatch(engine);
    this.#metrics = new SchedulerMetrics(name, engine.info.cacheBytes);
  }

  get load(): SchedulerLoad {
    return {
      rows: this.#rows,
      queued: this.#admission.requests + this.#setBack.length,
      active: this.#active.size + this.#prefilling,
      reservedBytes: this.#reserved,
      prefixBytes: this.#prefixes?.bytes ?? 0,
      prefixes: this.#prefixes?.size ?? 0,
    };
  }

  /** Takes a place in the queue. @throws RESOURCE_EXHAUSTED CONCURRENCY_LIMIT or TOKEN_BUDGET when there is none. */
  admit(load: Load): Ticket {
    if (this.#closed !== undefined) throw this.#closed;
    const admittedAt = performance.now();
    // A generation takes at least one row: what the free rows can take at once does not wait.
    const place = this.#admission.enter(load, Math.max(0, this.#limits.maxRows - this.#rows), (least) => this.#displace(least));
    this.#report();
    return {
      release: () => {
        place.leave();
        this.#report();
      },
      use: (generation) => {
        const { prompt, params, variants } = generation.plan;
        const tokens = prompt.ids.length + params.maxTokens;
        requireMemory(this.#engine, variants.length, tokens);
        this.#submit(new Seat(generation, place, this.#engine.cacheBytesOf(tokens), admittedAt));
      },
    };
  }

  /** Ends every generation with an error and takes no more. */
  close(error: RpcError): void {
    this.#closed = error;
    for (const seat of [...this.#queue.clear(), ...this.#setBack.splice(0), ...this.#active]) this.#end(seat, error);
  }

  #submit(seat: Seat): void {
    const { signal } = seat.generation.plan;
    if (this.#closed !== undefined || signal.aborted) {
      this.#end(seat, this.#closed ?? signal.reason);
      return;
    }
    this.#queue.push(seat.tenant, seat);
    seat.generation.events.onDrained = () => this.#decode();
    signal.addEventListener("abort", () => this.#end(seat, signal.reason), { once: true });
    this.#start();
  }

  /** Ends the newest waiting generation of the tenant with the most, if that has more than `least`. */
  #displace(least: number): boolean {
    const seat = this.#queue.displace(least);
    if (seat === undefined) return false;
    this.#end(seat, resourceExhausted("CONCURRENCY_LIMIT", "other tenants wait too, and yours has the most waiting; try again later", RETRY_MS));
    return true;
  }

  /** Starts what waits, in turn, as far as there is room. */
  #start(): void {
    while (this.#prefilling < MOST_PREFILLS && !this.#held && this.#closed === undefined) {
      const seat = this.#setBack[0] ?? this.#queue.peek();
      if (seat === undefined || !this.#occupy(seat)) break;
      if (seat === this.#setBack[0]) this.#setBack.shift();
      else {
        this.#queue.shift();
        this.#queue.charge(seat.tenant, seat.generation.plan.prompt.ids.length);
      }
      seat.place.leave();
      seat.state = "prefilling";
      void this.#prefill(seat);
    }
    this.#report();
  }

  /** Takes rows and memory, of kept prefixes where none is free. Returns whether there is enough. */
  #occupy(seat: Seat): boolean {
    const rows = seat.generation.live().length;
    const bytes = rows * seat.rowBytes;
    const { cacheBytes } = this.#engine.info;
    if (this.#rows + rows > this.#limits.maxRows || this.#reserved + bytes > cacheBytes) return false;
    while (this.#reserved + bytes + (this.#prefixes?.bytes ?? 0) > cacheBytes && this.#evict());
    seat.rows = rows;
    this.#rows += rows;
    this.#reserved += bytes;
    return true;
  }

  #vacate(seat: Seat, rows: number): void {
    seat.rows -= rows;
    this.#rows -= rows;
    this.#reserved -= rows * seat.rowBytes;
    this.#held = false;
  }

  #evict(): boolean {
    const evicted = this.#prefixes?.evict() ?? false;
    if (evicted) this.#metrics.evicted(1);
    return evicted;
  }

  /** Gives up every kept prefix. Returns whether there was one. */
  #evictAll(): boolean {
    let any = false;
    while (this.#evict()) any = true;
    return any;
  }

  async #prefill(seat: Seat): Promise<void> {
    const { generation } = seat;
    const { signal, prompt } = generation.plan;
    const taps = seat.begun ? [] : generation.promptTaps;
    // A capture wants the rows of the prompt themselves.
    const prefix = taps.length > 0 ? undefined : this.#prefixes?.find(prompt.ids);
    this.#prefilling++;
    let outcome: { readonly result: PrefillResult } | { readonly error: unknown };
    try {
      outcome = { result: await this.#engine.prefill(generation.prefillRows(prefix?.slot), { taps, signal }) };
    } catch (error) {
      outcome = { error };
    }
    this.#prefilling--;
    if (prefix !== undefined) this.#prefixes?.unpin(prefix);
    if (seat.state !== "prefilling") {
      if ("result" in outcome) this.#free(outcome.result.slots);
      this.#vacate(seat, seat.rows);
    } else if ("result" in outcome) {
      this.#prefilled(seat, outcome.result, taps);
    } else {
      this.#prefillFailed(seat, outcome.error);
    }
    this.#start();
  }

  #prefilled(seat: Seat, result: PrefillResult, taps: readonly Tap[]): void {
    const { generation } = seat;
    seat.state = "decoding";
    this.#active.add(seat);
    this.#joined = true;
    try {
      if (seat.begun) generation.resumed(result.slots);
      else generation.prefilled(result, new StepRows(result, taps, []));
    } catch (error) {
      this.#free(result.slots);
      this.#vacate(seat, seat.rows);
      this.#end(seat, error);
      return;
    }
    this.#notePrompt(seat, result);
    seat.begun = true;
    seat.firstTokenAt ??= performance.now();
    this.#retire(seat);
    this.#decode();
  }

  #notePrompt(seat: Seat, { slots, reusedTokens }: PrefillResult): void {
    const { prompt, variants } = seat.generation.plan;
    const given = slots.length * prompt.ids.length;
    const cached = reusedTokens.reduce((sum, tokens) => sum + tokens, 0);
    this.#metrics.prefilled(given, cached, Math.max(0, given - cached));
    if (!seat.begun) this.#queue.charge(seat.tenant, -(reusedTokens[0] ?? 0));
    const variant = variants.find(({ placed, slot }) => placed.length === 0 && slot !== undefined);
    if (variant?.slot === undefined) return;
    const prefix = this.#prefixes?.offer(variant.slot, prompt.ids);
    seat.offered = prefix === undefined ? undefined : { variant, prefix };
  }

  /** Without memory for its cache a generation waits for others to end; with none to wait for, it is refused. */
  #prefillFailed(seat: Seat, error: unknown): void {
    this.#vacate(seat, seat.rows);
    if (!isCacheFull(error)) {
      this.#end(seat, this.#closed ?? this.#explain(error));
      return;
    }
    const evicted = this.#evictAll();
    if (!evicted && this.#rows === 0) {
      this.#end(seat, resourceExhausted("MEMORY_BUDGET", error.message, RETRY_MS));
      return;
    }
    seat.state = "waiting";
    this.#setBack.unshift(seat);
    this.#held = !evicted;
  }

  #decode(): void {
    if (this.#stepping) return;
    this.#stepping = true;
    void this.#steps();
  }

  async #steps(): Promise<void> {
    // Nothing happens between finding no row and saying so: what comes later starts the steps anew.
    while (this.#batch.collect(this.#active)) {
      this.#joined = false;
      try {
        const steps = this.#batch.run((seat, error) => this.#end(seat, this.#explain(error)), () => !this.#joined);
        for await (const _ of steps) this.#stepped();
      } catch (error) {
        this.#stepFailed(error);
      }
    }
    this.#stepping = false;
  }

  #stepped(): void {
    for (const seat of this.#batch.seats) {
      this.#queue.charge(seat.tenant, OUTPUT_WEIGHT * seat.rows);
      if (seat.state === "decoding") this.#retire(seat);
    }
  }

  /** Without memory for one more token the generation that began last gives way to the others. */
  #stepFailed(error: unknown): void {
    if (!isCacheFull(error)) {
      for (const seat of this.#batch.seats) this.#end(seat, this.#explain(error));
      return;
    }
    if (this.#evictAll()) return;
    const last = [...this.#active].at(-1);
    if (last !== undefined) this.#preempt(last);
  }

  /**
   * Takes a generation out of the batch; it goes on where it was once another has ended. One that is alone goes on at once:
   * read anew it lies in one piece, where growing needs the old place and the new one side by side.
   */
  #preempt(seat: Seat): void {
    this.#active.delete(seat);
    this.#giveBack(seat, false);
    seat.state = "waiting";
    this.#setBack.push(seat);
    this.#held = this.#rows > 0;
    this.#metrics.preempted();
    this.#start();
  }

  /** Sends the ends of variants that have ended, and gives back the slots that are needed no more. */
  #retire(seat: Seat): void {
    const { generation } = seat;
    let left = false;
    for (const variant of generation.plan.variants) {
      const { slot } = variant;
      if (slot === undefined) continue;
      if (variant.done && !variant.reported) {
        variant.reported = true;
        void this.#finish(seat, variant, slot);
      }
      if (generation.needs(variant)) continue;
      this.#release(seat, variant, true);
      left = true;
    }
    if (!left) return;
    if (seat.rows === 0) this.#active.delete(seat);
    this.#start();
  }

  /** Asks what the edits of a variant did, before its slot is given back, and sends its end. */
  async #finish(seat: Seat, variant: VariantRun, slot: SlotId): Promise<void> {
    try {
      seat.generation.retired(variant, variant.placed.length === 0 ? [] : await this.#engine.proofs(slot));
      if (seat.generation.ended) this.#end(seat, undefined);
    } catch (error) {
      this.#end(seat, this.#explain(error));
    }
  }

  /** Ends a generation, whatever it is doing, and gives its slots back. Those that a prompt is being read into follow. */
  #end(seat: Seat, error: unknown): void {
    if (seat.state === "ended") return;
    if (seat.state === "waiting") {
      this.#queue.remove(seat.tenant, seat);
      const index = this.#setBack.indexOf(seat);
      if (index >= 0) this.#setBack.splice(index, 1);
    }
    const prefilling = seat.state === "prefilling";
    seat.state = "ended";
    seat.place.leave();
    this.#active.delete(seat);
    if (!prefilling) this.#giveBack(seat, this.#closed === undefined);
    if (error !== undefined) seat.generation.events.end(error);
    this.#noteEnd(seat, error);
    this.#start();
  }

  #noteEnd({ generation, admittedAt, firstTokenAt }: Seat, error: unknown): void {
    const tokens = generation.plan.variants.map(({ completionTokens }) => completionTokens);
    this.#metrics.ended({
      firstTokenMs: firstTokenAt === undefined ? undefined : firstTokenAt - admittedAt,
      totalMs: performance.now() - admittedAt,
      outputTokens: tokens.reduce((sum, count) => sum + count, 0),
      longest: Math.max(...tokens),
      error: error === undefined ? undefined : error instanceof RpcError ? error.reason : error instanceof Error ? error.name : "_OTHER",
    });
  }

  /** Gives back all slots of a seat. */
  #giveBack(seat: Seat, keep: boolean): void {
    for (const variant of seat.generation.plan.variants) if (variant.slot !== undefined) this.#release(seat, variant, keep);
  }

  /** Gives a slot back: to the prefix cache, when it may serve others. */
  #release(seat: Seat, variant: VariantRun, keep: boolean): void {
    const { slot } = variant;
    if (slot === undefined) return;
    variant.slot = undefined;
    this.#vacate(seat, 1);
    if (seat.offered?.variant !== variant) {
      this.#free([slot]);
      return;
    }
    const { prefix } = seat.offered;
    seat.offered = undefined;
    if (keep) this.#prefixes?.keep(prefix, variant.read(seat.generation.plan.prompt.ids));
    else this.#prefixes?.release(prefix);
  }

  #free(slots: readonly SlotId[]): void {
    // An engine that has died has freed everything.
    this.#engine.free(slots).catch(() => undefined);
  }

  #report(): void {
    this.#metrics.state({
      queued: this.#admission.requests,
      queuedTokens: this.#admission.tokens,
      rows: this.#rows,
      reservedBytes: this.#reserved,
      prefixBytes: this.#prefixes?.bytes ?? 0,
    });
  }
}

function isCacheFull(error: unknown): error is Error {
  return error instanceof Error && error.name === "CacheFullError";
}

import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { type Control, controlOf, deadPhase, scorePhase, Signal, stopPhase } from "./control.ts";
import { DeadThread } from "./dead-thread.ts";
import { instantiateKernels, type Kernels } from "./kernels.ts";
import type { TrainerLayout } from "./layout.ts";
import { type PhaseName, phaseNames, runPhase, type Share } from "./phases.ts";
import { ScoreThread } from "./score-thread.ts";

/** What a kernel thread is started with. */
export interface KernelThreadData {
  readonly module: WebAssembly.Module;
  readonly memory: WebAssembly.Memory;
  readonly layout: TrainerLayout;
  readonly control: SharedArrayBuffer;
  /** 1 to threads - 1; 0 is the owner of the team. */
  readonly thread: number;
}

/**
 * The threads that run the kernels over one memory. The owner's thread is one of them; it starts a phase, does its share and
 * blocks until all have done theirs. Threads without work sleep.
 */
export class KernelTeam {
  /** The owner's own kernels, for work that is not split. */
  readonly kernels: Kernels;
  readonly args: Float64Array;
  readonly #share: Share;
  readonly #scorer: ScoreThread | undefined;
  readonly #dead: DeadThread | undefined;
  readonly #control: Control;
  readonly #workers: readonly Worker[];
  readonly #exits: readonly Promise<void>[];

  private constructor(share: Share, scorer: ScoreThread | undefined, dead: DeadThread | undefined, control: Control, workers: readonly Worker[], exits: readonly Promise<void>[]) {
    this.kernels = share.kernels;
    this.args = control.args;
    this.#share = share;
    this.#scorer = scorer;
    this.#dead = dead;
    this.#control = control;
    this.#workers = workers;
    this.#exits = exits;
  }

  static async start(layout: TrainerLayout, memory: WebAssembly.Memory, module: WebAssembly.Module): Promise<KernelTeam> {
    const control = controlOf(layout.threads);
    const workers: Worker[] = [];
    for (let thread = 1; thread < layout.threads; thread++) {
      const workerData: KernelThreadData = { module, memory, layout, control: control.buffer, thread };
      workers.push(new Worker(new URL("kernel-thread.ts", import.meta.url), { workerData, name: `sae-kernels-${thread}` }));
    }
    // Listened for from the start: a thread that has ended by itself is not waited for at the close.
    const exits = workers.map((worker) => new Promise<void>((resolve) => worker.once("exit", () => resolve())));
    await Promise.all(workers.map((worker) => once(worker, "message")));
    for (const worker of workers) worker.unref();
    const share = { kernels: instantiateKernels(module, memory), layout, memory, args: control.args, thread: 0 };
    const scorer = layout.preselect === undefined ? undefined : await ScoreThread.create(share);
    const exact = await scorer?.isExact();
    if (exact === false) await scorer?.close();
    return new KernelTeam(share, exact === true ? scorer : undefined, layout.topsDead ? await DeadThread.create(share) : undefined, control, workers, exits);
  }

  /** Runs a phase on all threads and returns the sum of their results, added in the order of the threads. */
  run(phase: PhaseName): number {
    this.#begin(phaseNames.indexOf(phase) + 1);
    this.#control.results[0] = runPhase(phase, this.#share);
    let sum = 0;
    for (const result of this.#finish(phase)) sum += result;
    return sum;
  }

  /** Whether {@link score} can be asked for: the layout plans it, and products of bytes are exact here. */
  get scores(): boolean {
    return this.#scorer !== undefined;
  }

  /** Chooses the features of a batch: see Preselection. Returns how many rows each thread could not choose. */
  async score(): Promise<number[]> {
    this.#begin(scorePhase);
    this.#control.results[0] = await this.#scorer!.run();
    return [...this.#finish("score")];
  }

  /** Encodes the dead latents listed: see DeadThread. */
  async encodeDead(): Promise<void> {
    this.#begin(deadPhase);
    await this.#dead!.run();
    this.#finish("dead");
  }

  #begin(phase: number): void {
    const { signals } = this.#control;
    Atomics.store(signals, Signal.pending, this.#workers.length);
    signals[Signal.phase] = phase;
    Atomics.add(signals, Signal.sequence, 1);
    Atomics.notify(signals, Signal.sequence);
  }

  /** Waits for the other threads; returns the results in the order of the threads. */
  #finish(phase: string): Float64Array {
    const { signals, results } = this.#control;
    for (let left = Atomics.load(signals, Signal.pending); left > 0; left = Atomics.load(signals, Signal.pending)) {
      Atomics.wait(signals, Signal.pending, left);
    }
    if (signals[Signal.failed] !== 0) throw new Error(`kernel thread ${signals[Signal.failed]} failed in phase ${phase}`);
    return results;
  }

  /** Ends the threads and waits for their end. */
  async close(): Promise<void> {
    const { signals } = this.#control;
    for (const worker of this.#workers) worker.ref();
    signals[Signal.phase] = stopPhase;
    Atomics.add(signals, Signal.sequence, 1);
    Atomics.notify(signals, Signal.sequence);
    await Promise.all(this.#exits);
    await this.#scorer?.close();
    await this.#dead?.close();
  }
}

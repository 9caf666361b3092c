import { fromBinary, type Message, toBinary } from "@bufbuild/protobuf";
import { anyPack, AnySchema, anyUnpack } from "@bufbuild/protobuf/wkt";
import { internal, type RpcError } from "@mistral-sae/rpc";
import type { Job, JobContext, StageProgress } from "../definition.ts";
import type { LedgerRow, PendingShard } from "./ledger-row.ts";
import type { Ledger } from "./ledger.ts";
import type { ProgressTracker } from "./progress-tracker.ts";
import { type RetryPolicy, withRetry } from "./retry.ts";

/** What a run needs beside its ledger row. */
export interface RunOptions {
  readonly ledger: Ledger;
  readonly name: string;
  readonly signal: AbortSignal;
  readonly tracker: ProgressTracker;
  readonly retry: RetryPolicy;
  /** Called after each change that a watcher should see. */
  readonly changed: () => void;
}

/** Carries one operation from where the ledger has it to its output. */
export class Runner {
  readonly #job: Job;
  readonly #row: LedgerRow;
  readonly #options: RunOptions;
  readonly #input: Message;
  #selfReported = false;

  constructor(job: Job, row: LedgerRow, options: RunOptions) {
    this.#job = job;
    this.#row = row;
    this.#options = options;
    const input = anyUnpack(fromBinary(AnySchema, row.input), job.input);
    if (input === undefined) {
      throw internal("LEDGER_INPUT", `the input of ${options.name} is no ${job.input.typeName}, which "${job.kind}" takes`);
    }
    this.#input = input;
  }

  /** Returns the output as google.protobuf.Any bytes. Rejects with the job's error, or with the signal's reason. */
  async run(): Promise<Uint8Array> {
    const { ledger, signal } = this.#options;
    const { seq, attempts } = this.#row;
    if (!this.#row.planned) {
      const ctx = this.#context(attempts, signal);
      const shards = await this.#retry(signal, async () => await this.#job.plan(ctx));
      signal.throwIfAborted();
      ledger.savePlan(seq, shards);
    }
    this.#reportShards();
    await this.#runShards(ledger.pendingShards(seq));
    const ctx = this.#context(attempts, signal);
    const results = ledger.results(seq);
    const output = await this.#retry(signal, async () => await this.#job.reduce(results, ctx));
    return toBinary(AnySchema, anyPack(this.#job.output, output));
  }

  /** The first failure stops the other shards and is thrown once they have ended. */
  async #runShards(pending: readonly PendingShard[]): Promise<void> {
    const { ledger } = this.#options;
    const { seq } = this.#row;
    const siblings = new AbortController();
    const signal = AbortSignal.any([this.#options.signal, siblings.signal]);
    const queue = pending.values();
    let failure: { readonly error: unknown } | undefined;
    const work = async (): Promise<void> => {
      for (const { shard, input } of queue) {
        try {
          const result = await this.#retry(signal, async () => {
            const attempt = ledger.beginShard(seq, shard);
            return await this.#job.run(input, this.#context(attempt, signal));
          });
          ledger.completeShard(seq, shard, result);
          this.#reportShards();
        } catch (error) {
          failure ??= { error };
          siblings.abort(error);
          return;
        }
      }
    };
    await Promise.all(Array.from({ length: Math.min(this.#job.shardsInParallel, pending.length) }, work));
    if (failure !== undefined) throw failure.error;
  }

  async #retry<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    return await withRetry(this.#options.retry, signal, work, (error: RpcError) => {
      if (this.#options.tracker.warn(`repeated after: ${error.message}`)) this.#options.changed();
    });
  }

  #context(attempt: number, signal: AbortSignal): JobContext {
    const { ledger, name, tracker, changed } = this.#options;
    const { seq, id } = this.#row;
    return {
      name,
      id,
      input: this.#input,
      signal,
      attempt,
      stageSeconds: tracker.stageSeconds,
      state: {
        get: (key) => {
          const text = ledger.getState(seq, key);
          return text === undefined ? undefined : (JSON.parse(text) as unknown);
        },
        set: (key, value) => ledger.setState(seq, key, JSON.stringify(value ?? null)),
        delete: (key) => ledger.setState(seq, key, undefined),
      },
      progress: (progress: StageProgress) => {
        this.#selfReported = true;
        tracker.report(progress);
        changed();
      },
      warn: (text) => {
        if (tracker.warn(text)) changed();
      },
    };
  }

  /** Of jobs that do not report by themselves; one that did in a former process will do so again. */
  #reportShards(): void {
    const { stage } = this.#options.tracker;
    if (this.#selfReported || (stage !== "" && stage !== this.#job.kind)) return;
    const { done, total } = this.#options.ledger.countShards(this.#row.seq);
    this.#options.tracker.report({ stage: this.#job.kind, doneUnits: done, totalUnits: total, unit: "shards" });
    this.#options.changed();
  }
}

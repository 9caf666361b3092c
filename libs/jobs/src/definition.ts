import { create, type DescMessage, type Message, type MessageInitShape, type MessageShape } from "@bufbuild/protobuf";

/** How far a stage has come; absolute figures, not increments. */
export interface StageProgress {
  /** Stage under way, e.g. "harvest"; a new name ends the stage before it. */
  readonly stage: string;
  readonly doneUnits: number | bigint;
  /** 0 or absent while unknown. */
  readonly totalUnits?: number | bigint;
  /** What a unit is, e.g. "tokens". */
  readonly unit?: string;
}

/** JSON values that belong to one operation and survive restarts. Each call is one durable transaction. */
export interface DurableState {
  /** `undefined` where nothing was set. */
  get(key: string): unknown;
  set(key: string, value: unknown): void;
  delete(key: string): void;
}

/** Does a step of an operation unless the state says that it is done, then notes that. The signal is heeded before it begins. */
export async function once({ state, signal }: Pick<JobContext, "state"> & Partial<Pick<JobContext, "signal">>, step: string, work: () => Promise<void>): Promise<void> {
  signal?.throwIfAborted();
  if (state.get(step) === true) return;
  await work();
  state.set(step, true);
}

/** What a job sees of the operation that it works for. */
export interface JobContext<Input = Message> {
  /** operations/{service}/{id}. */
  readonly name: string;
  /** The last segment of name. */
  readonly id: string;
  readonly input: Input;
  /** Aborts when the operation is cancelled or paused, a sibling shard failed, or the engine closes. */
  readonly signal: AbortSignal;
  /** Times that this shard was begun, this one included; of plan and reduce, times that the operation was started. */
  readonly attempt: number;
  readonly state: DurableState;
  /** Seconds of each finished stage. */
  readonly stageSeconds: Readonly<Record<string, number>>;
  /** A job that never calls it is reported by finished shards. */
  progress(progress: StageProgress): void;
  /** Adds a line to the operation's warnings, once. */
  warn(text: string): void;
}

/**
 * Long work cut into shards. The engine runs `plan` until its shards are stored, each shard until its result is
 * stored, and `reduce` until the output is stored; after a crash each may run again, so effects must be idempotent.
 * Shards and results are stored as JSON.
 */
export interface JobDefinition<Input extends DescMessage, Output extends DescMessage, Shard, Result> {
  /** What it does, e.g. "index-corpus". */
  readonly kind: string;
  readonly input: Input;
  readonly output: Output;
  /** Shards of an operation that run at a time; default 1. */
  readonly shardsInParallel?: number;
  /** False for work that another operation, which holds a slot, starts and counts; default true. */
  readonly takesSlot?: boolean;
  plan(input: MessageShape<Input>, ctx: JobContext<MessageShape<Input>>): Promise<readonly Shard[]>;
  run(shard: Shard, ctx: JobContext<MessageShape<Input>>): Promise<Result>;
  /** Results come in the order of the plan. */
  reduce(
    input: MessageShape<Input>,
    results: readonly Result[],
    ctx: JobContext<MessageShape<Input>>,
  ): Promise<MessageInitShape<Output>>;
}

/** A definition with its shard and result types forgotten, as engines handle it. */
export interface Job {
  readonly kind: string;
  readonly input: DescMessage;
  readonly output: DescMessage;
  readonly shardsInParallel: number;
  readonly takesSlot: boolean;
  plan(ctx: JobContext): Promise<readonly unknown[]>;
  run(shard: unknown, ctx: JobContext): Promise<unknown>;
  reduce(results: readonly unknown[], ctx: JobContext): Promise<Message>;
}

const kindPattern = /^[a-z][a-z0-9-]{0,40}$/;

/** Checks a definition and makes it runnable. Throws on a kind that cannot be part of an operation's name. */
export function defineJob<Input extends DescMessage, Output extends DescMessage, Shard, Result>(
  definition: JobDefinition<Input, Output, Shard, Result>,
): Job {
  const { kind, shardsInParallel = 1, takesSlot = true } = definition;
  if (!kindPattern.test(kind)) throw new Error(`job kind "${kind}": want ${kindPattern.source}`);
  if (!Number.isInteger(shardsInParallel) || shardsInParallel < 1) {
    throw new Error(`job "${kind}": shardsInParallel is ${shardsInParallel}, want a whole number of at least 1`);
  }
  type Ctx = JobContext<MessageShape<Input>>;
  return {
    kind,
    shardsInParallel,
    takesSlot,
    input: definition.input,
    output: definition.output,
    plan: async (ctx) => await definition.plan((ctx as Ctx).input, ctx as Ctx),
    run: async (shard, ctx) => await definition.run(shard as Shard, ctx as Ctx),
    reduce: async (results, ctx) =>
      create(definition.output, await definition.reduce((ctx as Ctx).input, results as Result[], ctx as Ctx)),
  };
}

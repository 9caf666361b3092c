import type { RowEncoder } from "@mistral-sae/sae";
import { hookRows, type Hook } from "../evaluate/hook-rows.ts";
import { inFlight } from "../peer/in-flight.ts";
import type { InferencePeer } from "../peer/inference-peer.ts";
import type { StageContext } from "../threads/stage-thread.ts";
import { ProbeRowsBuilder, type ProbeRows } from "./probe-rows.ts";
import { labelledRows, type RowTask } from "./probe-task.ts";
import type { ProbeTokens } from "./read-tokens.ts";
import type { Examples, Task } from "./tasks.ts";
import type { TokenTable } from "./token-table.ts";

/** The rows of all tasks, each token kept once. */
export interface Collected {
  readonly rows: ProbeRows;
  /** A task's tokens as rows. */
  readonly rowTask: (task: Pick<Task, "train" | "test">) => RowTask;
}

/** Tokens of one round of calls. */
const BATCH_TOKENS = 4096;
const BATCHES_IN_FLIGHT = 2;

/** Runs the model over the windows that hold tokens of tasks and keeps those tokens' rows with their codes. */
export async function collectRows(tasks: readonly Task[], tokens: ProbeTokens, hook: Hook, encoder: RowEncoder, peer: InferencePeer, context: StageContext): Promise<Collected> {
  const train = keptTokens(tasks.map((task) => task.train));
  const test = keptTokens(tasks.map((task) => task.test));
  const { dIn, dSae } = encoder.codec.sae.config;
  const total = train.length + test.length;
  const builder = new ProbeRowsBuilder(total, dIn, dSae);
  let done = 0;
  for (const [table, kept] of [[tokens.train, train], [tokens.test, test]] as const) {
    const batches = inFlight(windowBatches(table, kept), BATCHES_IN_FLIGHT, async (batch) => {
      const [rows] = await hookRows(batch.windows.map((index) => windowOf(table, index)), [hook], peer);
      return { batch, values: rows?.values ?? new Float32Array(0) };
    });
    for await (const { batch, values } of batches) {
      context.signal.throwIfAborted();
      const chosen = new Float32Array(batch.tokens.length * dIn);
      for (const [at, row] of batch.rows.entries()) chosen.set(values.subarray(row * dIn, (row + 1) * dIn), at * dIn);
      const codes = await encoder.encode(chosen);
      for (let at = 0; at < batch.tokens.length; at += 1) builder.add(chosen.subarray(at * dIn, (at + 1) * dIn), codes, at, codes.stats.scale[at] ?? 1);
      done += batch.tokens.length;
      context.progress({ stage: "run", doneUnits: done, totalUnits: total, unit: "tokens" });
    }
  }
  const rowOf = { train: new Map(train.map((token, row) => [token, row])), test: new Map(test.map((token, row) => [token, train.length + row])) };
  const labelled = (side: "train" | "test", examples: Examples): RowTask["train"] => {
    const rowsOf = (list: readonly number[]): number[] => list.map((token) => rowOf[side].get(token) ?? -1);
    return labelledRows(rowsOf(examples.positive), rowsOf(examples.negative));
  };
  return { rows: builder.finish(), rowTask: (task) => ({ train: labelled("train", task.train), test: labelled("test", task.test) }) };
}

/** Tokens of any task, ascending, each once. */
function keptTokens(examples: readonly Examples[]): number[] {
  return [...new Set(examples.flatMap(({ positive, negative }) => [...positive, ...negative]))].sort((a, b) => a - b);
}

interface WindowBatch {
  readonly windows: readonly number[];
  /** Kept tokens of the windows. */
  readonly tokens: readonly number[];
  /** Of each kept token its row among all rows of the windows. */
  readonly rows: readonly number[];
}

/** The windows of kept tokens, in order. */
async function* windowBatches(table: TokenTable, kept: readonly number[]): AsyncIterable<WindowBatch> {
  let batch = { windows: [] as number[], tokens: [] as number[], rows: [] as number[] };
  let first = 0;
  let size = 0;
  for (const token of kept) {
    const index = table.window[token] ?? 0;
    if (index !== batch.windows.at(-1)) {
      if (size >= BATCH_TOKENS) {
        yield batch;
        batch = { windows: [], tokens: [], rows: [] };
        size = 0;
      }
      batch.windows.push(index);
      first = size;
      size += windowOf(table, index).ids.length;
    }
    batch.tokens.push(token);
    batch.rows.push(first + (table.at[token] ?? 0));
  }
  if (batch.tokens.length > 0) yield batch;
}

function windowOf(table: TokenTable, index: number): TokenTable["windows"][number] {
  const window = table.windows[index];
  if (window === undefined) throw new RangeError(`there is no window ${index}`);
  return window;
}

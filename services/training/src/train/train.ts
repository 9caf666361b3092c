import { basename } from "node:path";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { BatchStream, type BatchOptions, type RowSource } from "@mistral-sae/activations";
import type { TrainingMetricsSchema } from "@mistral-sae/contracts/mistral_sae/training/v1/training";
import { failedPrecondition, type RpcError } from "@mistral-sae/rpc";
import { listCheckpoints, loadSae, NonFiniteError, openTrainer, restoreNewestCheckpoint, writeCheckpoint, type TrainerConfig, type TrainerPort, type TrainingProvider } from "@mistral-sae/sae";
import type { StageContext } from "../threads/stage-thread.ts";
import { EarlyWarnings, startOfWatch, type WatchState } from "./early-warnings.ts";
import { SampledBatches } from "./sampled-batches.ts";
import { ShardRetention } from "./shard-retention.ts";
import { TrainLoop } from "./train-loop.ts";
import { writeTrained } from "./write-trained.ts";

/** What to train on which rows, and where to. */
export interface TrainPlan {
  readonly config: TrainerConfig;
  /** What the trainer computes on. */
  readonly provider: TrainingProvider;
  /** Rows [n, d_in], or of a transcoder [n, d_in + d_out]. */
  readonly rows: RowSource;
  /** Rows of the shuffle buffer. */
  readonly bufferRows: number;
  readonly checkpointEverySteps: number;
  readonly checkpoints: string;
  /** SAELens folder to start from. */
  readonly initFrom: string | undefined;
  /** SAELens folder to write. */
  readonly saeFolder: string;
  /** Metadata of its cfg.json. */
  readonly metadata: Readonly<Record<string, unknown>>;
}

/** What training tells the service beside its progress. */
export type TrainEvent =
  | { readonly kind: "starts-after"; readonly step: number }
  | { readonly kind: "metrics"; readonly metrics: readonly MessageInitShape<typeof TrainingMetricsSchema>[] };

export interface Trained {
  readonly steps: number;
  readonly weightsSha256: string;
}

/** What is kept beside the trainer's state in each checkpoint. */
interface CheckpointExtra {
  readonly cursor: { readonly rowsServed: number };
  /** First shard of the stream that is needed to go on; nothing while all are kept. */
  readonly floor?: number;
  readonly watch: WatchState;
}

/** Rows from which the trainer learns the data's mean, scale and variance. */
const SAMPLE_ROWS = 32_768;

/**
 * Trains from the newest whole checkpoint, or from the start, to the last step and writes the SAE. The rows, their
 * order and the starting point follow from the plan alone, so that a run that was interrupted at any instant ends
 * with the same bytes as one that was not. A stop saves a checkpoint first.
 * @throws RpcError TRAINING_NOT_FINITE when a step has no finite loss; the checkpoints before it stay.
 */
export async function train(plan: TrainPlan, context: StageContext<TrainEvent>): Promise<Trained> {
  const { trainBatchSizeTokens: batchRows = 1024, trainingTokens, seed = 0 } = plan.config;
  const steps = Math.floor(trainingTokens / batchRows);
  const stream = { batchRows, seed: BigInt(seed), bufferRows: plan.bufferRows };
  const { trainer, batches, watch, retention } = (await resumed(plan, stream, context)) ?? (await begun(plan, stream, sampleRows(plan, steps * batchRows, batchRows), context.signal));
  await using _trainer = trainer;
  await using _batches = batches;
  let saved = trainer.stepsDone;
  context.event({ kind: "starts-after", step: saved });
  const warnings = new EarlyWarnings(watch, trainer.config, (text) => context.warn(text));
  const pressed = retention === undefined ? undefined : (): Promise<boolean> => retention.presses(() => batches.floor());
  const loop = new TrainLoop(trainer, batches, steps, warnings, context, pressed);
  while (trainer.stepsDone < steps) {
    const next = Math.min(steps, (Math.floor(trainer.stepsDone / plan.checkpointEverySteps) + 1) * plan.checkpointEverySteps);
    try {
      await loop.runTo(next);
    } catch (error) {
      throw error instanceof NonFiniteError ? await notFinite(error, plan.checkpoints) : error;
    }
    if (trainer.stepsDone === saved) retention?.yieldToHarvest();
    else {
      const floor = await batches.floor();
      const extra: CheckpointExtra = { cursor: { rowsServed: batches.rowsServed }, floor, watch: warnings.state };
      await writeCheckpoint(plan.checkpoints, trainer, { extra });
      retention?.saved(floor);
      saved = trainer.stepsDone;
    }
    context.signal.throwIfAborted();
  }
  const written = await writeTrained(plan.saeFolder, await trainer.weights(plan.metadata));
  return { steps, weightsSha256: written.weightsSha256 };
}

/** The end of a run whose numbers have blown up, with the checkpoint that is left from before. */
async function notFinite(error: NonFiniteError, folder: string): Promise<RpcError> {
  const [last] = await listCheckpoints(folder);
  const kept = last === undefined ? "no checkpoint was written before it" : `the last good checkpoint, of step ${last.step}, is kept: ${basename(last.folder)}`;
  return failedPrecondition("TRAINING_NOT_FINITE", `${error.message}; ${kept}`, { step: String(error.step), tensor: error.tensor, checkpoint: last === undefined ? "" : basename(last.folder) });
}

type StreamOptions = Pick<BatchOptions, "batchRows" | "seed" | "bufferRows">;

/** A trainer with its data, both at the same step. */
interface Started {
  readonly trainer: TrainerPort;
  readonly batches: SampledBatches;
  readonly watch: WatchState;
  /** Set where shards are dropped once they are passed. */
  readonly retention: ShardRetention | undefined;
}

/** Rows to look at before the first step: of a stream no more than are there before shards of it must be passed. */
function sampleRows({ rows, bufferRows }: TrainPlan, all: number, batchRows: number): number {
  const most = rows.kind === "streamed" ? Math.max(batchRows, Math.floor(bufferRows / 4)) : Infinity;
  return Math.min(SAMPLE_ROWS, all, most);
}

/** From the first step. The rows at the head of the stream, a fair sample in shuffled order, tell the trainer of its data. */
async function begun(plan: TrainPlan, stream: StreamOptions, sampled: number, signal: AbortSignal): Promise<Started> {
  const weights = plan.initFrom === undefined ? undefined : (await loadSae(plan.initFrom)).sae;
  const retention = ShardRetention.of(plan.rows, 0);
  const batches = new SampledBatches(new BatchStream(plan.rows, stream));
  try {
    const sample = await batches.peek(sampled, signal);
    return { trainer: await openTrainer(plan.config, { sample, weights }, plan.provider), batches, watch: startOfWatch, retention };
  } catch (error) {
    await batches.close();
    throw error;
  }
}

/** From the newest whole checkpoint. @returns Undefined when there is none. */
async function resumed(plan: TrainPlan, stream: StreamOptions, context: StageContext<TrainEvent>): Promise<Started | undefined> {
  if ((await listCheckpoints(plan.checkpoints)).length === 0) return undefined;
  const trainer = await openTrainer(plan.config, { restored: true }, plan.provider);
  const found = await restoreNewestCheckpoint(plan.checkpoints, trainer);
  if (found === undefined) {
    context.warn("no checkpoint of the run is whole: it begins again");
    await trainer.close();
    return undefined;
  }
  for (const folder of found.damaged) context.warn(`the checkpoint ${basename(folder)} is damaged: the run goes on from step ${found.step}`);
  const { cursor, floor = 0, watch } = found.extra as CheckpointExtra;
  const retention = ShardRetention.of(plan.rows, floor);
  return { trainer, batches: new SampledBatches(new BatchStream(plan.rows, { ...stream, startRow: cursor.rowsServed })), watch, retention };
}

import { create } from "@bufbuild/protobuf";
import { damagedShard, StreamFlow, type RowSource } from "@mistral-sae/activations";
import { TrainingMetricsSchema } from "@mistral-sae/contracts/mistral_sae/training/v1/training";
import type { JobContext } from "@mistral-sae/jobs";
import { failedPrecondition } from "@mistral-sae/rpc";
import { readyRows } from "../activations/ready-rows.ts";
import type { Harvested } from "../harvest/harvest-plan.ts";
import type { PeerAddress } from "../peer/peer-address.ts";
import { metadataOf } from "../runs/run-metadata.ts";
import { runName, Stage } from "../runs/run-message.ts";
import type { RunRow } from "../runs/run-store.ts";
import { trainerOptions } from "../runs/trainer-config.ts";
import { runStage, type StageListener } from "../threads/run-stage.ts";
import type { Trained, TrainEvent, TrainPlan } from "../train/train.ts";
import { corpusSourceOf } from "../wire/corpus-source.ts";
import { harvestStage, requireSameCorpus } from "./harvest-stage.ts";
import { RunRows } from "./run-rows.ts";
import { stageListener } from "./stage-listener.ts";
import type { JobDependencies } from "./train-job.ts";

/** Damaged shards that a stage mends before it takes the disk for broken. */
const MOST_REPAIRS = 16;

/** Harvests what a run reads, before it trains. */
export async function harvestForRun(run: RunRow, dependencies: JobDependencies, ctx: JobContext): Promise<void> {
  const { folder, shardBytes } = dependencies;
  ctx.progress({ stage: Stage.harvest, doneUnits: run.tokensHarvested, totalUnits: run.tokensToHarvest, unit: "tokens" });
  await requireSameCorpus(corpusSourceOf(run.config.corpus), run.corpus, runName(run.id), ctx.signal);
  const plan = new RunRows(run, folder, shardBytes).plan();
  await dependencies.disk.makeRoom(plan, 0);
  finishHarvest(await harvestStage(plan, peerOf(run, dependencies), harvestListener(run, dependencies, ctx)), run, dependencies, ctx);
}

/** Trains on rows that are stored; a harvested shard that turns out damaged is harvested again. */
export async function trainStage(run: RunRow, dependencies: JobDependencies, ctx: JobContext): Promise<void> {
  if (run.config.activations !== "") return await trainOnReadyRows(run, dependencies, ctx);
  const rows = new RunRows(run, dependencies.folder, dependencies.shardBytes);
  await mending(rows, ctx, async (damaged) => {
    if (damaged) await harvestForRun(run, dependencies, ctx);
    await train(run, await rows.stored(), dependencies, trainListener(run, dependencies, ctx));
  });
}

async function trainOnReadyRows(run: RunRow, dependencies: JobDependencies, ctx: JobContext): Promise<void> {
  const { source, rows, fingerprint } = await readyRows(run.config, dependencies.folder.activations);
  if (fingerprint !== run.corpus) throw failedPrecondition("ACTIVATIONS_CHANGED", `the rows at ${run.config.activations} are not what they were when ${runName(run.id)} was made: make a new one`);
  dependencies.store.update(run.id, { tokensHarvested: rows, tokensToHarvest: rows });
  await train(run, source, dependencies, trainListener(run, dependencies, ctx));
}

/** Harvests and trains at the same time. */
export async function streamStage(run: RunRow, dependencies: JobDependencies, ctx: JobContext): Promise<void> {
  const { folder, shardBytes } = dependencies;
  ctx.progress({ stage: Stage.harvest, doneUnits: run.tokensHarvested, totalUnits: run.tokensToHarvest, unit: "tokens" });
  await requireSameCorpus(corpusSourceOf(run.config.corpus), run.corpus, runName(run.id), ctx.signal);
  const rows = new RunRows(run, folder, shardBytes);
  await dependencies.disk.makeRoom(rows.plan(), Number(run.config.activationDiskBytes));
  await mending(rows, ctx, () => harvestAndTrain(run, rows, dependencies, ctx));
  // Nobody else reads shards that are dropped as they are passed.
  if (run.config.activationDiskBytes > 0n) for (const set of rows.sets) await set.remove();
}

async function harvestAndTrain(run: RunRow, rows: RunRows, dependencies: JobDependencies, ctx: JobContext): Promise<void> {
  const flow = new StreamFlow();
  const either = new AbortController();
  const signal = AbortSignal.any([ctx.signal, either.signal]);
  let training = false;
  const harvesting = harvestListener(run, dependencies, ctx, () => !training);
  const harvested = harvestStage(rows.streamPlan(flow), peerOf(run, dependencies), { ...harvesting, signal })
    .then((done) => finishHarvest(done, run, dependencies, ctx))
    .catch((error: unknown) => either.abort(error));
  const listener = trainListener(run, dependencies, ctx);
  const begun: StageListener<TrainEvent> = {
    ...listener,
    signal,
    progress: (progress) => {
      training = true;
      listener.progress(progress);
    },
  };
  try {
    await train(run, rows.streamed(flow), dependencies, begun);
  } finally {
    either.abort(new Error("training has ended"));
    await harvested;
  }
}

/** Repeats `work` when it comes upon a damaged shard, after that shard's rows were dropped. */
async function mending(rows: RunRows, ctx: JobContext, work: (damaged: boolean) => Promise<void>): Promise<void> {
  for (let repairs = 0; ; repairs += 1) {
    try {
      return await work(repairs > 0);
    } catch (error) {
      const damaged = damagedShard(error);
      const set = rows.sets.find(({ folder }) => folder === damaged?.folder);
      if (damaged === undefined || set === undefined || repairs === MOST_REPAIRS) throw error;
      ctx.warn(`shard ${damaged.index} of activationSets/${damaged.folder} was damaged and is harvested again`);
      await set.drop(damaged.index);
    }
  }
}

async function train(run: RunRow, rows: RowSource, { store, folder, provider }: JobDependencies, listener: StageListener<TrainEvent>): Promise<void> {
  const { config, model } = run;
  const plan: TrainPlan = {
    config: trainerOptions(config, model),
    provider,
    rows,
    bufferRows: Number(config.bufferTokens),
    checkpointEverySteps: config.checkpointEverySteps,
    checkpoints: folder.checkpoints(run.id),
    initFrom: config.initFrom === "" ? undefined : config.initFrom,
    saeFolder: folder.sae(run.id),
    metadata: metadataOf(run),
  };
  const { weightsSha256 } = await runStage<Trained, TrainEvent>(new URL("../train/train-thread.ts", import.meta.url), plan, listener);
  store.update(run.id, { weightsSha256, saeUri: plan.saeFolder });
}

function harvestListener(run: RunRow, { store }: JobDependencies, ctx: JobContext, shown: () => boolean = () => true): StageListener<never> {
  return stageListener(ctx, {
    progress: (progress) => {
      store.update(run.id, { tokensHarvested: Number(progress.doneUnits), tokensToHarvest: Number(progress.totalUnits ?? 0) });
      if (shown()) ctx.progress(progress);
    },
  });
}

function finishHarvest({ hooks, emptyTexts }: Harvested, run: RunRow, { store }: JobDependencies, ctx: JobContext): void {
  const rows = hooks[0]?.rows ?? 0;
  if (rows < run.config.trainBatchSizeTokens) {
    throw failedPrecondition("CORPUS_TOO_SMALL", `the corpus gives ${rows} rows to train on, less than one batch of ${run.config.trainBatchSizeTokens}: give more text or a smaller train_batch_size_tokens`);
  }
  if (emptyTexts > 0) ctx.warn(`${emptyTexts} records of the corpus have an empty text and were left out`);
  store.update(run.id, { tokensHarvested: rows, tokensToHarvest: rows });
}

function trainListener(run: RunRow, { store }: JobDependencies, ctx: JobContext): StageListener<TrainEvent> {
  return stageListener<TrainEvent>(ctx, {
    event: (event) => {
      if (event.kind === "starts-after") store.dropMetricsAfter(run.id, event.step);
      else store.addMetrics(run.id, event.metrics.map((metrics) => create(TrainingMetricsSchema, metrics)));
    },
  });
}

export function peerOf(run: RunRow, { inference, patienceMs }: Pick<JobDependencies, "inference" | "patienceMs">): PeerAddress {
  return { address: inference, model: run.model.name, patienceMs };
}

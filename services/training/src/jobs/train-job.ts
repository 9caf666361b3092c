import { create } from "@bufbuild/protobuf";
import { activationKey, ShardSet, storedRows, type ActivationSource } from "@mistral-sae/activations";
import { CreateTrainingRunRequestSchema, TrainingMetricsSchema, TrainingRunSchema } from "@mistral-sae/contracts/mistral_sae/training/v1/training";
import { defineJob, type Job, type JobContext } from "@mistral-sae/jobs";
import { failedPrecondition, notFound } from "@mistral-sae/rpc";
import { digestOf, loadSae } from "@mistral-sae/sae";
import type { Evaluation } from "../evaluate/evaluate.ts";
import type { EvaluateTask } from "../evaluate/evaluate-thread.ts";
import { activationSource, type HarvestText } from "../harvest/harvest-plan.ts";
import type { PeerAddress } from "../peer/peer-address.ts";
import { storedDType } from "../runs/resolve-config.ts";
import { runMessage, runName, Stage } from "../runs/run-message.ts";
import { metadataOf } from "../runs/run-metadata.ts";
import type { RunRow, RunStore } from "../runs/run-store.ts";
import { trainerOptions } from "../runs/trainer-config.ts";
import { runStage } from "../threads/run-stage.ts";
import type { Trained, TrainEvent, TrainPlan } from "../train/train.ts";
import { corpusSourceOf } from "../wire/corpus-source.ts";
import { evaluationMessage } from "../wire/evaluation-message.ts";
import { harvestStage, harvestText, requireSameCorpus } from "./harvest-stage.ts";
import type { DataFolder } from "./paths.ts";
import { stageListener } from "./stage-listener.ts";

/** What the jobs work with. */
export interface JobDependencies {
  readonly store: RunStore;
  readonly folder: DataFolder;
  /** host:port of the inference service. */
  readonly inference: string;
  readonly patienceMs: number;
  /** Bytes of a shard's rows, about. */
  readonly shardBytes: number;
}

export const TRAIN_KIND = "train-sae";

/** A training run as a job of three stages in a row: harvest, train, evaluate. Each takes up where it was stopped. */
export function trainJob(dependencies: JobDependencies): Job {
  const { store } = dependencies;
  const rowOf = (id: string): RunRow => {
    const row = store.byId(id);
    if (row === undefined) throw notFound(runName(id));
    return row;
  };
  return defineJob({
    kind: TRAIN_KIND,
    input: CreateTrainingRunRequestSchema,
    output: TrainingRunSchema,
    plan: async (_input, ctx) => {
      ctx.progress({ stage: Stage.harvest, doneUnits: 0, unit: "tokens" });
      return await Promise.resolve(Object.values(Stage));
    },
    run: async (stage, ctx) => {
      const run = rowOf(ctx.id);
      if (stage === Stage.harvest) await harvestForRun(run, dependencies, ctx);
      else if (stage === Stage.train) await trainStage(run, dependencies, ctx);
      else await evaluateStage(run, dependencies, ctx);
      return null;
    },
    reduce: async (_input, _results, ctx) => await Promise.resolve(runMessage(rowOf(ctx.id), undefined, store.lastMetrics(ctx.id))),
  });
}

async function harvestForRun(run: RunRow, { store, folder, inference, patienceMs, shardBytes }: JobDependencies, ctx: JobContext): Promise<void> {
  ctx.progress({ stage: Stage.harvest, doneUnits: run.tokensHarvested, totalUnits: run.tokensToHarvest, unit: "tokens" });
  const corpus = corpusSourceOf(run.config.corpus);
  await requireSameCorpus(corpus, run.corpus, runName(run.id), ctx.signal);
  const { hookName, width, bosTokenId } = run.model;
  const plan = { store: folder.activations, text: textOf(run, shardBytes), hooks: [{ hookName, width }], corpus, bosTokenId, rowsWanted: Number(run.config.trainingTokens) };
  const listener = stageListener(ctx, {
    progress: (progress) => {
      store.update(run.id, { tokensHarvested: Number(progress.doneUnits), tokensToHarvest: Number(progress.totalUnits ?? 0) });
      ctx.progress(progress);
    },
  });
  const harvested = await harvestStage(plan, peerOf(run, inference, patienceMs), listener);
  const rows = harvested.hooks[0]?.rows ?? 0;
  if (rows < run.config.trainBatchSizeTokens) {
    throw failedPrecondition("CORPUS_TOO_SMALL", `the corpus gives ${rows} rows to train on, less than one batch of ${run.config.trainBatchSizeTokens}: give more text or a smaller train_batch_size_tokens`);
  }
  if (harvested.emptyTexts > 0) ctx.warn(`${harvested.emptyTexts} records of the corpus have an empty text and were left out`);
  store.update(run.id, { tokensHarvested: rows, tokensToHarvest: rows });
}

async function trainStage(run: RunRow, { store, folder, shardBytes }: JobDependencies, ctx: JobContext): Promise<void> {
  const { config, model } = run;
  const source = sourceOf(run, shardBytes);
  const set = new ShardSet(folder.activations, activationKey(source), source);
  const shards = await set.finished(Number(config.trainingTokens));
  const plan: TrainPlan = {
    config: trainerOptions(config, model),
    rows: storedRows(shards.map((shard) => set.rowFile(shard))),
    bufferRows: Number(config.bufferTokens),
    checkpointEverySteps: config.checkpointEverySteps,
    checkpoints: folder.checkpoints(run.id),
    initFrom: config.initFrom === "" ? undefined : config.initFrom,
    saeFolder: folder.sae(run.id),
    metadata: metadataOf(run),
  };
  const listener = stageListener<TrainEvent>(ctx, {
    event: (event) => {
      if (event.kind === "starts-after") store.dropMetricsAfter(run.id, event.step);
      else store.addMetrics(run.id, event.metrics.map((metrics) => create(TrainingMetricsSchema, metrics)));
    },
  });
  const { weightsSha256 } = await runStage<Trained, TrainEvent>(new URL("../train/train-thread.ts", import.meta.url), plan, listener);
  store.update(run.id, { weightsSha256, saeUri: plan.saeFolder });
}

async function evaluateStage(run: RunRow, { store, folder, inference, patienceMs }: JobDependencies, ctx: JobContext): Promise<void> {
  const { config, model } = run;
  const saeFolder = folder.sae(run.id);
  ctx.progress({ stage: Stage.evaluate, doneUnits: 0, unit: "tokens" });
  const ownText = config.evalCorpus === undefined;
  const task: EvaluateTask = {
    plan: {
      hookName: config.hookName,
      text: { corpus: corpusSourceOf(ownText ? config.corpus : config.evalCorpus), allDocuments: !ownText, tokens: Number(config.evalTokens) },
      contextSize: config.contextSize,
      bosTokenId: model.bosTokenId,
    },
    peer: peerOf(run, inference, patienceMs),
    sae: `${model.name}/saes/${run.id}`,
    folder: saeFolder,
    digest: await digestOf((await loadSae(saeFolder)).source),
  };
  const evaluation = await runStage<Evaluation | undefined>(new URL("../evaluate/evaluate-thread.ts", import.meta.url), task, stageListener(ctx));
  if (evaluation === undefined) ctx.warn("there is no text to evaluate on: no document of the corpus is held back; name one in eval_corpus");
  else store.update(run.id, { evaluation: evaluationMessage(evaluation, ownText ? "held-back tokens" : "tokens of eval_corpus") });
}

/** What decides a run's rows. */
function sourceOf(run: RunRow, shardBytes: number): ActivationSource {
  return activationSource(textOf(run, shardBytes), run.model);
}

function textOf({ config, model, corpus }: RunRow, shardBytes: number): HarvestText {
  return harvestText(model, { corpus, contextSize: config.contextSize, dtype: storedDType(config) }, shardBytes);
}

function peerOf(run: RunRow, address: string, patienceMs: number): PeerAddress {
  return { address, model: run.model.name, patienceMs };
}

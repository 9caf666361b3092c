import { CreateTrainingRunRequestSchema, TrainingRunSchema } from "@mistral-sae/contracts/mistral_sae/training/v1/training";
import { defineJob, type Job, type JobContext } from "@mistral-sae/jobs";
import { notFound } from "@mistral-sae/rpc";
import { digestOf, loadSae, saelensName, type TrainingProvider } from "@mistral-sae/sae";
import type { DiskSpace } from "../activations/disk-space.ts";
import type { Evaluation } from "../evaluate/evaluate.ts";
import type { EvaluateTask } from "../evaluate/evaluate-thread.ts";
import { runMessage, runName, Stage } from "../runs/run-message.ts";
import type { RunRow, RunStore } from "../runs/run-store.ts";
import { runStage } from "../threads/run-stage.ts";
import { corpusSourceOf } from "../wire/corpus-source.ts";
import { evaluationMessage } from "../wire/evaluation-message.ts";
import type { DataFolder } from "./paths.ts";
import { stageListener } from "./stage-listener.ts";
import { harvestForRun, peerOf, streamStage, trainStage } from "./train-stage.ts";

/** What the jobs work with. */
export interface JobDependencies {
  readonly store: RunStore;
  readonly folder: DataFolder;
  /** host:port of the inference service. */
  readonly inference: string;
  readonly patienceMs: number;
  /** Bytes of a shard's rows, about. */
  readonly shardBytes: number;
  /** What trainers compute on. */
  readonly provider: TrainingProvider;
  /** Where activations are stored. */
  readonly disk: DiskSpace;
}

/** A stage that harvests and trains at the same time. */
const STREAM = "stream";

export const TRAIN_KIND = "train-sae";

/**
 * A training run as a job of three stages: harvest, train, evaluate. Each takes up where it was stopped. They
 * follow each other, or the first two go on together where the run asks for it; ready rows need no harvest.
 */
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
      const { streamActivations, activations } = rowOf(ctx.id).config;
      const ready = activations !== "";
      ctx.progress(ready ? { stage: Stage.train, doneUnits: 0, unit: "steps" } : { stage: Stage.harvest, doneUnits: 0, unit: "tokens" });
      if (ready) return await Promise.resolve([Stage.train, Stage.evaluate]);
      return await Promise.resolve(streamActivations ? [STREAM, Stage.evaluate] : Object.values(Stage));
    },
    run: async (stage, ctx) => {
      const run = rowOf(ctx.id);
      if (stage === Stage.harvest) await harvestForRun(run, dependencies, ctx);
      else if (stage === Stage.train) await trainStage(run, dependencies, ctx);
      else if (stage === STREAM) await streamStage(run, dependencies, ctx);
      else await evaluateStage(run, dependencies, ctx);
      return null;
    },
    reduce: async (_input, _results, ctx) => await Promise.resolve(runMessage(rowOf(ctx.id), undefined, store.lastMetrics(ctx.id))),
  });
}

async function evaluateStage(run: RunRow, dependencies: JobDependencies, ctx: JobContext): Promise<void> {
  const { store, folder } = dependencies;
  const { config, model } = run;
  const saeFolder = folder.sae(run.id);
  ctx.progress({ stage: Stage.evaluate, doneUnits: 0, unit: "tokens" });
  if (config.activations !== "" && (config.evalCorpus === undefined || model.name === "")) {
    ctx.warn("the SAE is not evaluated: a run on ready rows needs eval_corpus and the model that they are of, which is loaded; EvaluateSae does it later");
    return;
  }
  const { sae, source } = await loadSae(saeFolder);
  if (model.out !== undefined && saelensName(sae.config) === undefined) {
    ctx.warn("the transcoder is not evaluated: sparsify's form, the only one that holds it, does not name the hook of its output");
    return;
  }
  const ownText = config.evalCorpus === undefined;
  const task: EvaluateTask = {
    plan: {
      hookName: config.hookName,
      text: { corpus: corpusSourceOf(ownText ? config.corpus : config.evalCorpus), allDocuments: !ownText, tokens: Number(config.evalTokens) },
      contextSize: config.contextSize,
      bosTokenId: model.bosTokenId,
    },
    peer: peerOf(run, dependencies),
    sae: `${model.name}/saes/${run.id}`,
    folder: saeFolder,
    digest: await digestOf(source),
  };
  const evaluation = await runStage<Evaluation | undefined>(new URL("../evaluate/evaluate-thread.ts", import.meta.url), task, stageListener(ctx));
  if (evaluation === undefined) ctx.warn("there is no text to evaluate on: no document of the corpus is held back; name one in eval_corpus");
  else store.update(run.id, { evaluation: evaluationMessage(evaluation, ownText ? "held-back tokens" : "tokens of eval_corpus") });
}

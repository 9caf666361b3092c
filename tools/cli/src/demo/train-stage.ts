import type { MessageInitShape } from "@bufbuild/protobuf";
import { Code, createClient, RpcError, toRpcError } from "@mistral-sae/rpc";
import { SaeService } from "@mistral-sae/contracts/mistral_sae/sae/v1/sae";
import { OperationService } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";
import { LrScheduler, type TrainingConfigSchema } from "@mistral-sae/contracts/mistral_sae/training/v1/config";
import { type TrainingRun, TrainingRunState, TrainingRunStateSchema, TrainingService } from "@mistral-sae/contracts/mistral_sae/training/v1/training";
import type { Output, Progress } from "../output.ts";
import { enumWord } from "../enums.ts";
import { type DemoOptions, hashOf, requestIdOf } from "./demo-options.ts";
import { finished, whileAway } from "./watching.ts";

/** A trained SAE, registered with the model. */
export interface TrainedSae {
  readonly run: TrainingRun;
  /** models/{model}/saes/{sae}. */
  readonly sae: string;
}

/** Harvests and trains, or finds the run that already did; then makes sure that the SAE is loaded. */
export async function trainStage(
  address: string,
  options: DemoOptions,
  model: string,
  corpusUri: string,
  output: Output,
  signal: AbortSignal,
): Promise<TrainedSae> {
  const training = createClient(TrainingService, address);
  const config = trainingConfig(options, model, corpusUri);
  const id = `demo-${hashOf(config)}`;
  const created = await whileAway(signal, () =>
    training.createTrainingRun({ trainingRunId: id, config, requestId: requestIdOf(config) }, { signal }),
  );
  const name = created.trainingRun?.name ?? `trainingRuns/${id}`;
  const state = created.trainingRun?.state;
  if (state === TrainingRunState.FAILED || state === TrainingRunState.PAUSED) {
    await whileAway(signal, () => training.resumeTrainingRun({ name }, { signal }));
  }
  const run = await watchRun(address, name, output, signal);
  return { run, sae: await ensureSae(address, model, id, run, signal) };
}

function trainingConfig(options: DemoOptions, model: string, corpusUri: string): MessageInitShape<typeof TrainingConfigSchema> {
  const steps = Math.floor(options.trainingTokens / options.trainBatchSizeTokens);
  return {
    model,
    hookName: options.hookName,
    corpus: { uri: corpusUri },
    contextSize: options.contextSize,
    dSae: options.dSae,
    architecture: "topk",
    k: options.k,
    normalizeActivations: "expected_average_only_in",
    trainBatchSizeTokens: options.trainBatchSizeTokens,
    trainingTokens: BigInt(options.trainingTokens),
    lr: options.lr,
    lrScheduler: LrScheduler.CONSTANT,
    lrWarmUpSteps: Math.min(options.lrWarmUpSteps, Math.floor(steps / 10)),
    lrDecaySteps: Math.floor(steps * options.lrDecayShare),
    kAux: options.kAux,
    deadFeatureWindowTokens: BigInt(options.deadFeatureWindowTokens),
    seed: BigInt(options.seed),
    ...(options.threads === undefined ? {} : { threads: options.threads }),
  };
}

async function watchRun(address: string, name: string, output: Output, signal: AbortSignal): Promise<TrainingRun> {
  const training = createClient(TrainingService, address);
  const bars = new StageBars(output);
  try {
    return await whileAway(signal, async (alive) => {
      for await (const { trainingRun: run } of training.watchTrainingRun({ name, afterStep: 0n }, { signal })) {
        if (run === undefined) continue;
        alive();
        bars.show(run);
        if (run.state === TrainingRunState.SUCCEEDED) return run;
        if (run.state === TrainingRunState.FAILED || run.state === TrainingRunState.STOPPED || run.state === TrainingRunState.PAUSED) {
          throw new RpcError(Code.FailedPrecondition, `${name} is ${enumWord(TrainingRunStateSchema, run.state)}: ${run.stateDetail}`);
        }
      }
      const { trainingRun } = await training.getTrainingRun({ name }, { signal });
      if (trainingRun?.state === TrainingRunState.SUCCEEDED) return trainingRun;
      throw new RpcError(Code.Unavailable, `${name}: the watch ended before the run`);
    });
  } finally {
    bars.end();
  }
}

/** One progress bar a stage of the run. */
class StageBars {
  readonly #output: Output;
  #stage: TrainingRunState | undefined;
  #bar: Progress | undefined;

  constructor(output: Output) {
    this.#output = output;
  }

  show(run: TrainingRun): void {
    if (run.state !== this.#stage) {
      this.end();
      this.#stage = run.state;
      const label = STAGE_LABELS[run.state];
      this.#bar = label === undefined ? undefined : this.#output.progress(label);
    }
    if (run.state === TrainingRunState.HARVESTING) {
      this.#bar?.update({ done: Number(run.tokensHarvested), total: Number(run.tokensToHarvest), unit: "tokens" });
    } else if (run.state === TrainingRunState.RUNNING) {
      const m = run.metrics;
      this.#bar?.update({
        done: Number(run.step),
        total: Number(run.totalSteps),
        unit: "steps",
        ...(m === undefined ? {} : { figures: { FVU: m.fvu.toFixed(3), L0: m.l0.toFixed(1), dead: `${(m.deadFraction * 100).toFixed(1)}%` } }),
      });
    }
  }

  end(): void {
    this.#bar?.finish();
    this.#bar = undefined;
  }
}

const STAGE_LABELS: Readonly<Partial<Record<TrainingRunState, string>>> = {
  [TrainingRunState.HARVESTING]: "harvest",
  [TrainingRunState.RUNNING]: "train",
  [TrainingRunState.EVALUATING]: "evaluate",
};

async function ensureSae(address: string, model: string, id: string, run: TrainingRun, signal: AbortSignal): Promise<string> {
  const saes = createClient(SaeService, address);
  const name = `${model}/saes/${id}`;
  try {
    await whileAway(signal, () => saes.loadSae({ name }, { signal }));
    return name;
  } catch (error) {
    if (toRpcError(error).code !== Code.NotFound) throw error;
  }
  const { operation } = await saes.createSae({ parent: model, saeId: id, uri: run.saeUri }, { signal });
  await finished(createClient(OperationService, address), operation, signal, () => undefined);
  return name;
}

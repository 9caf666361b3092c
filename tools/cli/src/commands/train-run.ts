import type { MessageInitShape } from "@bufbuild/protobuf";
import {
  TrainingRunSchema,
  TrainingRunState,
  TrainingRunStateSchema,
  type SaeEvaluation,
  type TrainingRun,
} from "@mistral-sae/contracts/mistral_sae/training/v1/training";
import type { TrainingConfigSchema } from "@mistral-sae/contracts/mistral_sae/training/v1/config";
import { fromStatus } from "@mistral-sae/rpc";
import { setTimeout as sleep } from "node:timers/promises";
import { connect, type Clients } from "../clients.ts";
import type { CommandContext } from "../command.ts";
import { enumWord } from "../enums.ts";
import { isAway } from "../operations.ts";
import { CliError, ExitCode, failureOf, formatCount, formatFields, formatNumber, formatSeconds, type Progress } from "../output.ts";

/** A training run to start through the gateway. */
export interface RemoteTrainingOptions {
  readonly config: MessageInitShape<typeof TrainingConfigSchema>;
  /** Id to give the run; the service makes one from the configuration otherwise. */
  readonly runId?: string | undefined;
  /** Makes the call idempotent. */
  readonly requestId?: string | undefined;
  /** Start the run and return at once. */
  readonly detach?: boolean | undefined;
  /** Check the configuration and show it with its defaults, without starting. */
  readonly validateOnly?: boolean | undefined;
}

const ENDED: ReadonlySet<TrainingRunState> = new Set([
  TrainingRunState.SUCCEEDED,
  TrainingRunState.FAILED,
  TrainingRunState.STOPPED,
  TrainingRunState.PAUSED,
]);
const PATIENCE_MS = 60_000;

/** Starts a run on the training service, follows it with its metrics and prints what it made. */
export async function runRemoteTraining(context: CommandContext, options: RemoteTrainingOptions): Promise<TrainingRun> {
  const clients = connect(context.address);
  const { trainingRun } = await clients.training.createTrainingRun(
    {
      config: options.config,
      trainingRunId: options.runId ?? "",
      requestId: options.requestId ?? "",
      validateOnly: options.validateOnly ?? false,
    },
    { signal: context.signal },
  );
  if (trainingRun === undefined) throw new CliError("the training service answered without a run", ExitCode.failure);
  const ended = options.detach === true || options.validateOnly === true ? trainingRun : await watchTrainingRun(context, clients, trainingRun);
  context.output.message(TrainingRunSchema, ended, () => describeRun(ended));
  return ended;
}

/** Follows a run with a progress bar to its end, also across restarts of the service; throws when it failed. */
export async function watchTrainingRun(context: Pick<CommandContext, "output" | "signal">, clients: Clients, first: TrainingRun): Promise<TrainingRun> {
  const { output, signal } = context;
  let run = first;
  let stage = "";
  let progress: Progress | undefined;
  let awaySince: number | undefined;
  const show = (): void => {
    const word = stageOf(run);
    if (word !== stage) {
      progress?.finish();
      progress = ENDED.has(run.state) || word === "queued" ? undefined : output.progress(word);
      stage = word;
    }
    progress?.update(progressOf(run));
  };
  show();
  try {
    while (!ENDED.has(run.state)) {
      try {
        for await (const update of clients.training.watchTrainingRun({ name: run.name, afterStep: run.step }, { signal })) {
          awaySince = undefined;
          if (update.trainingRun !== undefined) run = update.trainingRun;
          show();
        }
      } catch (error) {
        signal.throwIfAborted();
        if (!isAway(error)) throw error;
        awaySince ??= performance.now();
        if (performance.now() - awaySince > PATIENCE_MS) throw error;
      }
      if (!ENDED.has(run.state)) await sleep(500, undefined, { signal });
    }
  } catch (error) {
    if (signal.aborted) output.note(`\nthe run goes on: \`mistral-sae jobs watch ${run.operation}\`, or \`jobs cancel\` to stop it`);
    throw error;
  } finally {
    progress?.finish("left");
  }
  if (run.state === TrainingRunState.FAILED) throw await failureOfRun(clients, run, signal);
  for (const warning of run.warnings) output.warn(warning);
  return run;
}

/** Why a run failed, with the exit code of its cause: bad text is bad input wherever it is found. */
async function failureOfRun(clients: Clients, run: TrainingRun, signal: AbortSignal): Promise<CliError> {
  const { operation } = await clients.operations.getOperation({ name: run.operation }, { signal });
  const cause = operation?.result.case === "error" ? failureOf(fromStatus(operation.result.value)) : undefined;
  return new CliError(`${run.name} failed: ${run.stateDetail}`, cause?.exitCode ?? ExitCode.failure, {
    field: cause?.field,
    hint: `mistral-sae jobs resume ${run.operation}`,
  });
}

/** A run in a few lines: state, metrics, evaluation, where the SAE lies. */
export function describeRun(run: TrainingRun): string {
  const { metrics, evaluation } = run;
  return formatFields([
    ["run", run.name],
    ["state", run.state === TrainingRunState.UNSPECIFIED ? "not started" : enumWord(TrainingRunStateSchema, run.state)],
    ["steps", `${formatCount(run.step)} of ${formatCount(run.totalSteps)}`],
    ["tokens trained", metrics === undefined ? undefined : formatCount(metrics.nTrainingTokens)],
    ["loss", metrics?.loss],
    ["of it sparsity", metrics === undefined || metrics.sparsityLoss === 0 ? undefined : metrics.sparsityLoss],
    ["tokens/s", metrics === undefined ? undefined : formatCount(metrics.tokensPerSecond)],
    ...(evaluation === undefined ? [] : evaluationFields(evaluation)),
    ...run.warnings.map((warning) => ["warning", run.state === TrainingRunState.UNSPECIFIED ? warning : undefined] as const),
    ["seconds", Object.entries(run.stageSeconds).map(([stage, seconds]) => `${stage} ${formatSeconds(seconds)}`).join(", ")],
    ["SAE folder", run.saeUri],
    ["weights sha256", run.weightsSha256],
  ]);
}

/** The figures of an evaluation as names and values. */
export function evaluationFields(evaluation: SaeEvaluation): readonly (readonly [string, string | number | undefined])[] {
  const percent = (share: number | undefined): string | undefined => (share === undefined ? undefined : `${formatNumber(share * 100)}%`);
  return [
    ["tokens measured", formatCount(evaluation.nTokens)],
    ["FVU", evaluation.fvu],
    ...Object.entries(evaluation.bySource).map(([source, part]) => [`FVU ${source}`, part.fvu] as const),
    ["L0", evaluation.l0],
    ["cosine", evaluation.cosine],
    ["dead features", `${formatCount(evaluation.nDead)} (${percent(evaluation.deadFraction) ?? ""})`],
    ["cross-entropy", evaluation.ceClean],
    ["with the SAE", evaluation.ceSae],
    ["CE recovered", percent(evaluation.ceRecovered)],
    ["KL recovered", percent(evaluation.klRecovered)],
  ];
}

function stageOf(run: TrainingRun): string {
  if (run.state === TrainingRunState.HARVESTING) return "harvest";
  if (run.state === TrainingRunState.RUNNING) return "train";
  if (run.state === TrainingRunState.EVALUATING) return "evaluate";
  return enumWord(TrainingRunStateSchema, run.state);
}

function progressOf(run: TrainingRun): Parameters<Progress["update"]>[0] {
  if (run.state === TrainingRunState.HARVESTING) {
    return { done: Number(run.tokensHarvested), total: Number(run.tokensToHarvest), unit: "tokens" };
  }
  if (run.state === TrainingRunState.EVALUATING) return { done: 0, total: 0, unit: "" };
  const { metrics } = run;
  const figures =
    metrics === undefined || run.state !== TrainingRunState.RUNNING
      ? undefined
      : {
          FVU: metrics.fvu.toFixed(4),
          L0: metrics.l0.toFixed(1),
          dead: `${(metrics.deadFraction * 100).toFixed(1)}%`,
          ...(metrics.sparsityLoss > 0 ? { sparsity: metrics.sparsityLoss.toPrecision(3) } : {}),
          "tokens/s": formatCount(metrics.tokensPerSecond),
        };
  return { done: Number(run.step), total: Number(run.totalSteps), unit: "steps", figures };
}

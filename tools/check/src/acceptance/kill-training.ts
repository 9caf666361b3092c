/**
 * One training run whose service is killed with SIGKILL at random instants, against the same run undisturbed:
 *
 *     node tools/check/src/acceptance/kill-training.ts [kills] [config]
 *
 * `config` is JSON of a TrainingConfig's fields that differ from the script's own, as in
 * '{"architecture":"batchtopk","streamActivations":true}'. Ends with 1, keeping its folder, when weights, evaluation or any
 * step's metrics differ.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";
import { fromJson, type JsonObject, type MessageInitShape } from "@bufbuild/protobuf";
import { TrainingConfigSchema } from "@mistral-sae/contracts/mistral_sae/training/v1/config";
import { TrainingRunState, TrainingService, type TrainingMetrics, type TrainingRun } from "@mistral-sae/contracts/mistral_sae/training/v1/training";
import { demoModelDir } from "@mistral-sae/demo-model";
import { createClient } from "@mistral-sae/rpc";
import { writeSampleCorpus } from "./sample-corpus.ts";
import { ServiceProcess } from "./service-process.ts";

const kills = Number(process.argv[2] ?? 20);
const over = JSON.parse(process.argv[3] ?? "{}") as JsonObject;
const name = "trainingRuns/run";

const folder = await mkdtemp(join(tmpdir(), "kill-training-"));
const corpus = join(folder, "corpus.jsonl");
await writeSampleCorpus(corpus, 400);
const config = fromJson(TrainingConfigSchema, {
  hookName: "blocks.2.hook_resid_pre", corpus: { uri: corpus }, contextSize: 64, dSae: 512, k: 8, trainBatchSizeTokens: 256, trainingTokens: "102400",
  lr: 1e-3, lrWarmUpSteps: 10, deadFeatureWindowTokens: "20000", checkpointEverySteps: 20, evalTokens: "5000", ...over,
});
/** Services that were killed, or are about to be. */
const killed = new Set<ServiceProcess>();
const inference = await ServiceProcess.start("inference", join(folder, "inference"), { MISTRAL_SAE_MODELS: `demo=${demoModelDir}` });

async function startTraining(data: string): Promise<ServiceProcess> {
  return await ServiceProcess.start("training", join(folder, data), { MISTRAL_SAE_INFERENCE: inference.address, MISTRAL_SAE_THREADS: "2", MISTRAL_SAE_TRAINING_SHARD_MIB: "1" });
}

/** Starts the run, or finds it, and follows it to its end, or until the service is gone. */
async function follow(service: ServiceProcess): Promise<{ readonly run: TrainingRun; readonly metrics: readonly TrainingMetrics[] } | undefined> {
  const client = createClient(TrainingService, service.address);
  const init: MessageInitShape<typeof TrainingConfigSchema> = config;
  try {
    await client.createTrainingRun({ trainingRunId: "run", requestId: "once", config: init });
    const metrics: TrainingMetrics[] = [];
    for await (const message of client.watchTrainingRun({ name })) {
      metrics.push(...message.metrics);
      if (message.trainingRun !== undefined && message.trainingRun.state >= TrainingRunState.SUCCEEDED) return { run: message.trainingRun, metrics };
    }
  } catch (error) {
    if (!killed.has(service)) throw error;
  }
  return undefined;
}

function outcomeOf({ run, metrics }: { readonly run: TrainingRun; readonly metrics: readonly TrainingMetrics[] }): Readonly<Record<string, unknown>> {
  return {
    state: run.state,
    detail: run.stateDetail,
    weights: run.weightsSha256,
    fvu: run.evaluation?.fvu,
    ceSae: run.evaluation?.ceSae,
    // Speed and waiting are the machine's, the rest is the run's.
    metrics: metrics.map(({ step, loss, mseLoss, auxLoss, sparsityLoss, fvu, l0, deadFraction, gradNorm, lr }) => [Number(step), loss, mseLoss, auxLoss, sparsityLoss, fvu, l0, deadFraction, gradNorm, lr]),
  };
}

const begun = performance.now();
const quiet = await startTraining("undisturbed");
const wanted = await follow(quiet);
const runMs = performance.now() - begun;
await quiet.stop();
if (wanted === undefined || wanted.run.state !== TrainingRunState.SUCCEEDED) throw new Error(`the undisturbed run ended as ${wanted?.run.state}: ${wanted?.run.stateDetail}`);
console.log("undisturbed", wanted.run.weightsSha256, `${Math.round(runMs)} ms`, `fvu ${wanted.run.evaluation?.fvu}`);

const instants: string[] = [];
let done = 0;
while (done < kills) {
  const service = await startTraining("killed");
  const followed = follow(service);
  const afterMs = Math.random() * Math.max(500, (2 * runMs) / kills);
  const ended = await Promise.race([followed, sleep(afterMs)]);
  if (ended !== undefined) {
    // It was over before: the rest of the kills falls on a run of its own.
    await service.stop();
    if (!report(ended)) break;
    await rm(join(folder, "killed"), { recursive: true });
    continue;
  }
  killed.add(service);
  process.kill(service.pid, "SIGKILL");
  await followed;
  instants.push(`${Math.round(afterMs)} ms`);
  done++;
}
const service = await startTraining("killed");
const last = await follow(service);
await service.stop();
await inference.stop();
const same = last !== undefined && report(last);
if (same) await rm(folder, { recursive: true });
process.exitCode = same ? 0 : 1;

function report(followed: { readonly run: TrainingRun; readonly metrics: readonly TrainingMetrics[] }): boolean {
  const [got, hoped] = [outcomeOf(followed), outcomeOf(wanted!)];
  const equal = isDeepStrictEqual(got, hoped);
  console.log(equal ? "same" : `DIFFERENT, kept in ${folder}`, followed.run.weightsSha256, `killed after ${instants.splice(0).join(", ")}; ${followed.run.attempts} attempts`, equal ? "" : { ...got, metrics: undefined }, followed.run.warnings);
  return equal;
}

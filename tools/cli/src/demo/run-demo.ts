import { join } from "node:path";
import { corpusDir, demoModelDir } from "@mistral-sae/demo-model";
import type { SaeEvaluation, TrainingRun } from "@mistral-sae/contracts/mistral_sae/training/v1/training";
import type { Output } from "../output.ts";
import { type RunningSystem, startSystem } from "../up/index.ts";
import { idOfFolder, userPath } from "../paths.ts";
import type { DemoOptions } from "./demo-options.ts";
import { explainStage, type Explained } from "./explain-stage.ts";
import { indexStage, type IndexedCorpus } from "./index-stage.ts";
import { type DemoReport, type QualityReport, reportText, writeReport } from "./report.ts";
import { steerStage, type Steered } from "./steer-stage.ts";
import { trainStage } from "./train-stage.ts";

/**
 * The main job: starts the system, harvests, trains, indexes, explains and steers, and reports. What an earlier
 * start did is found again and not done twice. Unless `once`, the system then runs until it is interrupted.
 */
export async function runDemo(options: DemoOptions, output: Output, signal: AbortSignal): Promise<void> {
  const began = performance.now();
  const data = userPath(options.data);
  const modelFolder = options.model === undefined ? demoModelDir : options.model.startsWith(".") || options.model.startsWith("/") ? userPath(options.model) : options.model;
  const modelId = options.model === undefined ? "demo" : idOfFolder(modelFolder);
  const corpus = options.corpus === undefined ? corpusDir : userPath(options.corpus);

  const system = await startSystem({
    dataDir: data,
    models: { [modelId]: modelFolder },
    ...(options.threads === undefined ? {} : { threads: options.threads }),
    signal,
  });
  system.onExit(({ name }) => output.note(`${name} ended by itself and is started again`));
  try {
    const report = await mainJob(system, options, `models/${modelId}`, corpus, output, signal, began);
    const path = join(data, "report.json");
    await writeReport(path, report);
    output.result(report, () => `\n${reportText(report)}\n\n  report          ${path}`);
    if (options.once) return;
    output.note(runningText(system, report));
    await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
  } finally {
    await system.stop();
  }
}

async function mainJob(
  system: RunningSystem,
  options: DemoOptions,
  model: string,
  corpus: string,
  output: Output,
  signal: AbortSignal,
  began: number,
): Promise<DemoReport> {
  const address = system.addresses.gateway;
  const startSeconds = (performance.now() - began) / 1000;
  const { run, sae } = await trainStage(address, options, model, corpus, output, signal);
  const indexed = await indexStage(address, options, model, corpus, sae, output, signal);
  const explained = await explainStage(address, sae, indexed.index.name, output, signal);
  const steered = await steerStage(address, options, sae, indexed.index.name, output, signal);
  const total = (performance.now() - began) / 1000;
  return reportOf({ options, model, corpus, run, sae, indexed, explained, steered, startSeconds, total });
}

interface Outcome {
  readonly options: DemoOptions;
  readonly model: string;
  readonly corpus: string;
  readonly run: TrainingRun;
  readonly sae: string;
  readonly indexed: IndexedCorpus;
  readonly explained: Explained;
  readonly steered: Steered;
  readonly startSeconds: number;
  readonly total: number;
}

function reportOf({ options, model, corpus, run, sae, indexed, explained, steered, startSeconds, total }: Outcome): DemoReport {
  const { evaluation } = run;
  if (evaluation === undefined) throw new Error(`${run.name}: got no evaluation, wanted one of a finished run`);
  const stages = Object.fromEntries(["harvest", "train", "evaluate"].map((stage) => [stage, run.stageSeconds[stage] ?? 0]));
  const tokensTrained = Number(run.step) * options.trainBatchSizeTokens;
  return {
    model,
    corpus,
    hook_name: run.config?.hookName ?? options.hookName,
    sae,
    sae_uri: run.saeUri,
    weights_sha256: run.weightsSha256,
    ...quality(evaluation),
    ce_clean: evaluation.ceClean ?? null,
    ce_sae: evaluation.ceSae ?? null,
    ce_zero: evaluation.ceZero ?? null,
    kl_recovered: evaluation.klRecovered ?? null,
    dead_rule: evaluation.deadRule,
    by_source: Object.fromEntries(Object.entries(evaluation.bySource).map(([source, part]) => [source, quality(part)])),
    tokens_harvested: Number(run.tokensHarvested),
    tokens_trained: tokensTrained,
    train_tokens_per_second: tokensTrained / Math.max(stages["train"] ?? 0, 1e-9),
    tokens_indexed: Number(indexed.index.nTokens),
    activations_indexed: Number(indexed.index.nActivations),
    features_alive: Number(indexed.index.nFeaturesAlive),
    features_explained: Number(explained.result.nOk + explained.result.nExisting),
    table_checksums: indexed.index.tableChecksums,
    steering: steered.steering,
    seconds: { start: startSeconds, ...stages, index: indexed.seconds, explain: explained.seconds, steer: steered.seconds, this_start: total },
  };
}

function quality(evaluation: SaeEvaluation): QualityReport {
  return {
    fvu: evaluation.fvu,
    l0: evaluation.l0,
    dead_fraction: evaluation.deadFraction,
    ce_recovered: evaluation.ceRecovered ?? null,
    n_tokens: Number(evaluation.nTokens),
  };
}

function runningText(system: RunningSystem, report: DemoReport): string {
  const { gateway, http } = system.addresses;
  const feature = report.steering[0]?.feature ?? 0;
  return [
    "",
    "The system is running:",
    `  web page        ${http}/`,
    `  gRPC            ${gateway}  (grpcurl -plaintext ${gateway} list)`,
    "Try:",
    `  npx mistral-sae steer text --feature ${feature} "Once upon a time"`,
    `  npx mistral-sae index search "water sea"`,
    `  npx mistral-sae index sql "SELECT feature_index, n_firings FROM features ORDER BY n_firings DESC LIMIT 5"`,
    "Stop it with Ctrl-C; the next start takes seconds.",
  ].join("\n");
}

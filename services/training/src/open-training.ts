import { TrainingService } from "@mistral-sae/contracts/mistral_sae/training/v1/training";
import { OperationService } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";
import { FeatureIndexService } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import { JobEngine, operationHandlers } from "@mistral-sae/jobs";
import { createClient, implement, type ServiceImplementation } from "@mistral-sae/rpc";
import { createLogger } from "@mistral-sae/telemetry";
import { DiskSpace } from "./activations/disk-space.ts";
import { readersOf } from "./activations/readers.ts";
import { SetCatalogue } from "./activations/set-catalogue.ts";
import type { TrainingServiceConfig } from "./config.ts";
import { trainingHandlers } from "./handlers/training-handlers.ts";
import { evaluateJob } from "./jobs/evaluate-job.ts";
import { exportJob } from "./jobs/export-job.ts";
import { harvestJob } from "./jobs/harvest-job.ts";
import { isWriting } from "./jobs/harvest-stage.ts";
import { importJob } from "./jobs/import-job.ts";
import { DataFolder } from "./jobs/paths.ts";
import { probeJob } from "./jobs/probe-job.ts";
import { trainJob, type JobDependencies } from "./jobs/train-job.ts";
import { InferencePeer } from "./peer/inference-peer.ts";
import { MetricsOutbox } from "./metrics/metrics-outbox.ts";
import { MetricsSender } from "./metrics/metrics-sender.ts";
import { RunMaker } from "./runs/run-maker.ts";
import { RunStore } from "./runs/run-store.ts";
import { Runs } from "./runs/runs.ts";
import { sweepJob, sweepRunJob, type SweepParts } from "./sweeps/sweep-job.ts";
import { SweepMaker } from "./sweeps/sweep-maker.ts";
import { SweepStore } from "./sweeps/sweep-store.ts";
import { Sweeps } from "./sweeps/sweeps.ts";

/** The training service, ready to be served. */
export interface OpenTraining {
  readonly services: readonly ServiceImplementation[];
  /** Takes up what a former process left unfinished. */
  recover(): void;
  close(): Promise<void>;
}

/** How long a request may wait for the inference service. */
const REQUEST_PATIENCE_MS = 5000;

export async function openTraining(config: TrainingServiceConfig): Promise<OpenTraining> {
  const folder = new DataFolder(config.data, config.saes);
  const store = new RunStore(folder.catalogue);
  const shardBytes = config.shardMib * 2 ** 20;
  const disk = new DiskSpace(new SetCatalogue(folder.activations), config.activationDiskMib * 2 ** 20, () => {
    const readers = readersOf(store, folder, shardBytes);
    return (set) => readers.has(set) || isWriting(set);
  });
  const dependencies: JobDependencies = { store, folder, inference: config.inference, patienceMs: config.patienceSeconds * 1000, shardBytes, provider: config.provider, disk };
  const outbox = new MetricsOutbox(store.database);
  const sender = config.featureIndex === "" ? undefined : new MetricsSender(outbox, createClient(FeatureIndexService, config.featureIndex), createLogger("training"));
  store.onMetrics(() => sender?.wake());
  const sweepParts = (): SweepParts => ({ engine, runs, sweeps });
  const engine: JobEngine = await JobEngine.open({
    service: "training",
    path: folder.ledger,
    definitions: [trainJob(dependencies), evaluateJob(dependencies), exportJob(dependencies), harvestJob(dependencies), importJob(dependencies), probeJob(dependencies), sweepJob(dependencies, sweepParts), sweepRunJob(dependencies)],
    operationsInParallel: config.operationsInParallel,
  });
  const sweepStore = new SweepStore(store.database);
  const runs = new Runs(store, engine);
  const sweeps = new Sweeps(sweepStore, store, runs, engine);
  const defaults = { threads: config.threads, provider: config.provider, bufferBytes: config.bufferMib * 2 ** 20, shardBytes, activations: folder.activations };
  const peerOf = (model: string, signal: AbortSignal): InferencePeer => new InferencePeer(config.inference, model, { signal, giveUpAfterMs: REQUEST_PATIENCE_MS, onAway: () => undefined });
  const maker = new RunMaker(store, defaults, peerOf);
  return {
    services: [implement(TrainingService, trainingHandlers({ store, engine, maker, runs, sweeps, sweepMaker: new SweepMaker(store, sweepStore, maker), folder, shardBytes, disk, peerOf })), implement(OperationService, operationHandlers(engine))],
    recover: () => {
      engine.recover();
      runs.startForgotten();
      sweeps.startForgotten();
      sender?.wake();
    },
    close: async () => {
      await engine.close();
      await sender?.close();
      store.close();
    },
  };
}

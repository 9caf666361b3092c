import { setTimeout as sleep } from "node:timers/promises";
import { OperationService, OperationState } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";
import { type Client, createClient } from "@mistral-sae/rpc";
import type { DemoJob, RunningDemo } from "./demo-job.ts";

/** The stages of the main job in their order, and the service that does each. */
export const STAGES = {
  harvest: "training",
  train: "training",
  evaluate: "training",
  index: "feature-index",
  explain: "explanation",
  steer: "steering",
} as const;
export type Stage = keyof typeof STAGES;
export const stages = Object.keys(STAGES) as readonly Stage[];

const POLL_MS = 20;
const KINDS: Readonly<Record<string, Stage>> = { "index-corpus": "index", "batch-explain": "explain", "suggest-steering": "steer" };

/**
 * Waits until the job is in this stage or a later one; returns the stage it found, and undefined when the job ended first.
 * A service that is away is asked again.
 */
export async function whenIn(wanted: Stage, job: DemoJob): Promise<{ readonly stage: Stage; readonly system: RunningDemo } | undefined> {
  while (job.running) {
    const system = job.system();
    const stage = system === undefined ? undefined : await stageOf(system.gateway);
    if (system !== undefined && stage !== undefined && stages.indexOf(stage) >= stages.indexOf(wanted)) return { stage, system };
    await sleep(POLL_MS);
  }
  return undefined;
}

/** Connections are kept: a stage may be over sooner than one is made. */
const clients = new Map<string, Client<typeof OperationService>>();

async function stageOf(gateway: string): Promise<Stage | undefined> {
  const client = clients.get(gateway) ?? createClient(OperationService, gateway);
  clients.set(gateway, client);
  try {
    const { operations } = await client.listOperations({ states: [OperationState.RUNNING] }, { timeoutMs: 1000 });
    for (const { kind, progress } of operations) {
      const stage = kind === "train-sae" ? progress?.stage : KINDS[kind];
      if (stage !== undefined && stage in STAGES) return stage as Stage;
    }
    return undefined;
  } catch {
    return undefined;
  }
}

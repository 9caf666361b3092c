import { workerData } from "node:worker_threads";
import { InferencePeer } from "../peer/inference-peer.ts";
import type { PeerAddress } from "../peer/peer-address.ts";
import { serveStage } from "../threads/stage-thread.ts";
import { harvest } from "./harvest.ts";
import type { Harvested, HarvestPlan } from "./harvest-plan.ts";

/** What the harvesting thread is told. */
export interface HarvestTask {
  readonly plan: HarvestPlan;
  readonly peer: PeerAddress;
}

await serveStage<Harvested>(async (context) => {
  const { plan, peer } = workerData as HarvestTask;
  const patience = { signal: context.signal, giveUpAfterMs: peer.patienceMs, onAway: (error: Error) => context.warn(`the inference service was away: ${error.message}`) };
  return await harvest(plan, new InferencePeer(peer.address, peer.model, patience), context, context.signal);
});

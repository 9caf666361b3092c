import { workerData } from "node:worker_threads";
import { failedPrecondition } from "@mistral-sae/rpc";
import { isTranscoder, loadSae } from "@mistral-sae/sae";
import { InferencePeer } from "../peer/inference-peer.ts";
import type { PeerAddress } from "../peer/peer-address.ts";
import { serveStage } from "../threads/stage-thread.ts";
import { probe, type ProbePlan, type Probing } from "./probe.ts";

/** What the probing thread is told. */
export interface ProbeTaskMessage {
  readonly plan: ProbePlan;
  readonly peer: PeerAddress;
  /** The SAE's folder. */
  readonly folder: string;
}

await serveStage<Probing>(async (context) => {
  const { plan, peer, folder } = workerData as ProbeTaskMessage;
  const patience = { signal: context.signal, giveUpAfterMs: peer.patienceMs, onAway: (error: Error) => context.warn(`the inference service was away: ${error.message}`) };
  const { sae } = await loadSae(folder);
  if (plan.absorption && isTranscoder(sae.config)) {
    throw failedPrecondition("TRANSCODER", "absorption compares decoder rows with a probe on the SAE's input, and a transcoder's decoder writes at another hook: leave absorption out");
  }
  return await probe(plan, sae, new InferencePeer(peer.address, peer.model, patience), context);
});

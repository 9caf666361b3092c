import { workerData } from "node:worker_threads";
import { loadSae } from "@mistral-sae/sae";
import { InferencePeer } from "../peer/inference-peer.ts";
import type { PeerAddress } from "../peer/peer-address.ts";
import { SaePeer } from "../peer/sae-peer.ts";
import { serveStage } from "../threads/stage-thread.ts";
import { evaluate, type Evaluation, type EvaluationPlan } from "./evaluate.ts";

/** What the evaluating thread is told. */
export interface EvaluateTask {
  readonly plan: Omit<EvaluationPlan, "sae">;
  readonly peer: PeerAddress;
  /** models/{model}/saes/{sae}: registered already, or to be registered from `folder` when it has a `digest`. */
  readonly sae: string;
  /** The SAE's folder. */
  readonly folder: string;
  /** Digest of the folder, for an SAE that this service registers itself. */
  readonly digest: string | undefined;
}

await serveStage<Evaluation | undefined>(async (context) => {
  const { plan, peer, sae, folder, digest } = workerData as EvaluateTask;
  const patience = { signal: context.signal, giveUpAfterMs: peer.patienceMs, onAway: (error: Error) => context.warn(`the inference service was away: ${error.message}`) };
  const saes = new SaePeer(peer.address, patience);
  const [parent, id] = sae.split("/saes/");
  if (digest === undefined) await saes.load(sae);
  else await saes.register(parent ?? "", id ?? "", folder, digest);
  const { sae: weights } = await loadSae(folder);
  return await evaluate({ ...plan, sae }, weights, new InferencePeer(peer.address, peer.model, patience), saes, context);
});

import { workerData } from "node:worker_threads";
import { Code, toRpcError } from "@mistral-sae/rpc";
import { isTranscoder, loadSae, type SaeWeights } from "@mistral-sae/sae";
import { InferencePeer } from "../peer/inference-peer.ts";
import type { PeerAddress } from "../peer/peer-address.ts";
import { SaePeer } from "../peer/sae-peer.ts";
import { serveStage, type StageContext } from "../threads/stage-thread.ts";
import { evaluate, type Evaluation, type EvaluationPlan } from "./evaluate.ts";
import { outputHookOf } from "./output-hook.ts";

/** What the evaluating thread is told. */
export interface EvaluateTask {
  readonly plan: Omit<EvaluationPlan, "sae" | "hookNameOut">;
  readonly peer: PeerAddress;
  /** models/{model}/saes/{sae}: registered already, or to be registered from `folder` when it has a `digest`. */
  readonly sae: string;
  /** The SAE's folder. */
  readonly folder: string;
  /** Digest of the folder, for an SAE that this service registers itself. */
  readonly digest: string | undefined;
}

await serveStage<Evaluation | undefined>(async (context) => {
  const task = workerData as EvaluateTask;
  const { plan, peer, folder } = task;
  const patience = { signal: context.signal, giveUpAfterMs: peer.patienceMs, onAway: (error: Error) => context.warn(`the inference service was away: ${error.message}`) };
  const { sae: weights } = await loadSae(folder);
  const inference = new InferencePeer(peer.address, peer.model, patience);
  const spliced = await spliceable(task, weights, inference, new SaePeer(peer.address, patience), context);
  return await evaluate({ ...plan, sae: spliced, hookNameOut: outputHookOf(weights.config, plan.hookName) }, weights, inference, context);
});

/** The SAE's name where the model can run with its reconstruction in place of the residual; a warning says why where it cannot. */
async function spliceable({ plan, sae, folder, digest }: EvaluateTask, weights: SaeWeights, peer: InferencePeer, saes: SaePeer, context: StageContext): Promise<string | undefined> {
  const leaveOut = (reason: string): undefined => {
    context.warn(`cross-entropy and KL were not measured: ${reason}`);
    return undefined;
  };
  const [parent, id] = sae.split("/saes/");
  try {
    if (digest === undefined) await saes.load(sae);
    else await saes.register(parent ?? "", id ?? "", folder, digest);
  } catch (cause) {
    const error = toRpcError(cause);
    if (error.code !== Code.InvalidArgument && error.code !== Code.FailedPrecondition && error.code !== Code.Unimplemented) throw error;
    return leaveOut(`the inference service does not take the SAE: ${error.message}`);
  }
  const outputHook = outputHookOf(weights.config, plan.hookName);
  if (isTranscoder(weights.config)) return leaveOut(`the output of a transcoder, at ${outputHook}, cannot be spliced in`);
  const hook = (await peer.capabilities()).hooks.find(({ hookName }) => hookName === plan.hookName);
  return hook?.writable === false ? leaveOut(`${plan.hookName} cannot be written: ${hook.refusalReason}`) : sae;
}

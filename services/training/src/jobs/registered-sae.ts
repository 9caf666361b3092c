import type { JobContext } from "@mistral-sae/jobs";
import { invalidArgument, parseName } from "@mistral-sae/rpc";
import { InferencePeer } from "../peer/inference-peer.ts";
import type { PeerAddress } from "../peer/peer-address.ts";
import { SaePeer } from "../peer/sae-peer.ts";
import { CONTEXT_SIZE } from "../runs/resolve-config.ts";
import type { JobDependencies } from "./train-job.ts";

/** A registered SAE, READY, and how text is cut for it. */
export interface RegisteredSae {
  readonly sae: Awaited<ReturnType<SaePeer["load"]>>;
  readonly peer: PeerAddress;
  /** Tokens of a window. */
  readonly contextSize: number;
  readonly bosTokenId: number | undefined;
}

/**
 * Loads the SAE that a request names and decides the windows of its text: as asked for, else as the SAE was trained, else the default.
 * @throws RpcError INVALID_ARGUMENT naming `context_size` when the model does not read so many tokens.
 */
export async function registeredSae(asked: { readonly sae: string; readonly contextSize: number }, ctx: Pick<JobContext, "signal" | "warn">, { inference, patienceMs }: JobDependencies): Promise<RegisteredSae> {
  const { model } = parseName("models/{model}/saes/{sae}", asked.sae, "sae");
  const peer: PeerAddress = { address: inference, model: `models/${model}`, patienceMs };
  const patience = { signal: ctx.signal, giveUpAfterMs: patienceMs, onAway: (error: Error) => ctx.warn(`the inference service was away: ${error.message}`) };
  const sae = await new SaePeer(peer.address, patience).load(asked.sae);
  const { model: facts } = await new InferencePeer(peer.address, peer.model, patience).capabilities();
  const contextSize = asked.contextSize || sae.contextSize || Math.min(CONTEXT_SIZE, facts?.nCtx ?? CONTEXT_SIZE);
  if (contextSize < 2 || contextSize > (facts?.nCtx ?? contextSize)) throw invalidArgument("context_size", `got ${contextSize}, wanted 2 to ${facts?.nCtx ?? contextSize}`);
  return { sae, peer, contextSize, bosTokenId: facts?.bosTokenId };
}

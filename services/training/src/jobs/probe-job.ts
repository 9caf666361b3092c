import { create, fromJson, toJson, type JsonValue } from "@bufbuild/protobuf";
import { ProbeSaeRequestSchema, SaeProbingSchema, type ProbeSaeRequest } from "@mistral-sae/contracts/mistral_sae/training/v1/probe";
import { defineJob, type Job, type JobContext } from "@mistral-sae/jobs";
import { invalidArgument, parseName } from "@mistral-sae/rpc";
import { InferencePeer } from "../peer/inference-peer.ts";
import { SaePeer } from "../peer/sae-peer.ts";
import type { Probing } from "../probe/probe.ts";
import type { ProbeTaskMessage } from "../probe/probe-thread.ts";
import { runStage } from "../threads/run-stage.ts";
import { corpusSourceOf } from "../wire/corpus-source.ts";
import { kindsOf, probingMessage } from "../wire/probing-message.ts";
import { stageListener } from "./stage-listener.ts";
import type { JobDependencies } from "./train-job.ts";

export const PROBE_KIND = "probe-sae";

const PROBE_TOKENS = 200_000;
const MAX_TASKS = 26;
const CONTEXT_SIZE = 128;
const KS: readonly number[] = [1, 2, 5, 20];

/** Measures k-sparse probing and absorption of a registered SAE. After a crash it begins again: equal requests give equal results. */
export function probeJob(dependencies: JobDependencies): Job {
  return defineJob({
    kind: PROBE_KIND,
    input: ProbeSaeRequestSchema,
    output: SaeProbingSchema,
    plan: async () => await Promise.resolve(["probe"]),
    run: async (_shard, ctx) => await probing(ctx, dependencies),
    reduce: async (_input, [result]) => await Promise.resolve(fromJson(SaeProbingSchema, result ?? toJson(SaeProbingSchema, create(SaeProbingSchema)))),
  });
}

async function probing(ctx: JobContext<ProbeSaeRequest>, { inference, patienceMs }: JobDependencies): Promise<JsonValue> {
  const { input, signal } = ctx;
  const { model } = parseName("models/{model}/saes/{sae}", input.sae, "sae");
  const patience = { signal, giveUpAfterMs: patienceMs, onAway: (error: Error) => ctx.warn(`the inference service was away: ${error.message}`) };
  const sae = await new SaePeer(inference, patience).load(input.sae);
  const { model: facts } = await new InferencePeer(inference, `models/${model}`, patience).capabilities();
  const contextSize = input.contextSize || sae.contextSize || Math.min(CONTEXT_SIZE, facts?.nCtx ?? CONTEXT_SIZE);
  if (contextSize < 2 || contextSize > (facts?.nCtx ?? contextSize)) throw invalidArgument("context_size", `got ${contextSize}, wanted 2 to ${facts?.nCtx ?? contextSize}`);
  const ks = [...new Set(input.ks.length === 0 ? KS.filter((k) => k <= sae.dSae) : input.ks)].sort((a, b) => a - b);
  const tooLarge = ks.find((k) => k > sae.dSae);
  if (tooLarge !== undefined) throw invalidArgument("ks", `got ${tooLarge}, wanted at most d_sae ${sae.dSae}`);
  const task: ProbeTaskMessage = {
    plan: {
      hookName: sae.hookName,
      corpus: corpusSourceOf(input.corpus),
      tokens: Number(input.tokens ?? PROBE_TOKENS),
      contextSize,
      bosTokenId: facts?.bosTokenId,
      kinds: kindsOf(input.kinds),
      ks,
      maxTasks: input.maxTasks ?? MAX_TASKS,
      absorption: input.absorption,
      seed: Number(input.seed),
    },
    peer: { address: inference, model: `models/${model}`, patienceMs },
    folder: sae.uri,
  };
  const measured = await runStage<Probing>(new URL("../probe/probe-thread.ts", import.meta.url), task, stageListener(ctx));
  return toJson(SaeProbingSchema, probingMessage(measured));
}

import { create, fromJson, toJson, type JsonValue } from "@bufbuild/protobuf";
import { ProbeSaeRequestSchema, SaeProbingSchema, type ProbeSaeRequest } from "@mistral-sae/contracts/mistral_sae/training/v1/probe";
import { defineJob, type Job, type JobContext } from "@mistral-sae/jobs";
import { invalidArgument } from "@mistral-sae/rpc";
import type { Probing } from "../probe/probe.ts";
import type { ProbeTaskMessage } from "../probe/probe-thread.ts";
import { runStage } from "../threads/run-stage.ts";
import { corpusSourceOf } from "../wire/corpus-source.ts";
import { kindsOf, probingMessage } from "../wire/probing-message.ts";
import { registeredSae } from "./registered-sae.ts";
import { stageListener } from "./stage-listener.ts";
import type { JobDependencies } from "./train-job.ts";

export const PROBE_KIND = "probe-sae";

const PROBE_TOKENS = 200_000;
const MAX_TASKS = 26;
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

async function probing(ctx: JobContext<ProbeSaeRequest>, dependencies: JobDependencies): Promise<JsonValue> {
  const { input } = ctx;
  const { sae, peer, contextSize, bosTokenId } = await registeredSae(input, ctx, dependencies);
  const ks = [...new Set(input.ks.length === 0 ? KS.filter((k) => k <= sae.dSae) : input.ks)].sort((a, b) => a - b);
  const tooLarge = ks.find((k) => k > sae.dSae);
  if (tooLarge !== undefined) throw invalidArgument("ks", `got ${tooLarge}, wanted at most d_sae ${sae.dSae}`);
  const task: ProbeTaskMessage = {
    plan: {
      hookName: sae.hookName,
      corpus: corpusSourceOf(input.corpus),
      tokens: Number(input.tokens ?? PROBE_TOKENS),
      contextSize,
      bosTokenId,
      kinds: kindsOf(input.kinds),
      ks,
      maxTasks: input.maxTasks ?? MAX_TASKS,
      absorption: input.absorption,
      seed: Number(input.seed),
    },
    peer,
    folder: sae.uri,
  };
  const measured = await runStage<Probing>(new URL("../probe/probe-thread.ts", import.meta.url), task, stageListener(ctx));
  return toJson(SaeProbingSchema, probingMessage(measured));
}

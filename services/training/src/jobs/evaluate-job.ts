import { fromJson, toJson, type JsonValue } from "@bufbuild/protobuf";
import { EvaluateSaeRequestSchema, SaeEvaluationSchema, type EvaluateSaeRequest } from "@mistral-sae/contracts/mistral_sae/training/v1/training";
import { defineJob, type Job, type JobContext } from "@mistral-sae/jobs";
import { failedPrecondition } from "@mistral-sae/rpc";
import type { Evaluation } from "../evaluate/evaluate.ts";
import type { EvaluateTask } from "../evaluate/evaluate-thread.ts";
import { runStage } from "../threads/run-stage.ts";
import { corpusSourceOf } from "../wire/corpus-source.ts";
import { evaluationMessage } from "../wire/evaluation-message.ts";
import { registeredSae } from "./registered-sae.ts";
import { stageListener } from "./stage-listener.ts";
import type { JobDependencies } from "./train-job.ts";

export const EVALUATE_KIND = "evaluate-sae";

const EVAL_TOKENS = 200_000;

/** Measures any registered SAE on text. */
export function evaluateJob(dependencies: JobDependencies): Job {
  return defineJob({
    kind: EVALUATE_KIND,
    input: EvaluateSaeRequestSchema,
    output: SaeEvaluationSchema,
    plan: async () => await Promise.resolve(["evaluate"]),
    run: async (_shard, ctx) => await evaluation(ctx, dependencies),
    reduce: async (_input, [result]) => await Promise.resolve(fromJson(SaeEvaluationSchema, result ?? {})),
  });
}

async function evaluation(ctx: JobContext<EvaluateSaeRequest>, dependencies: JobDependencies): Promise<JsonValue> {
  const { input } = ctx;
  const { sae, peer, contextSize, bosTokenId } = await registeredSae(input, ctx, dependencies);
  const task: EvaluateTask = {
    plan: {
      hookName: sae.hookName,
      text: { corpus: corpusSourceOf(input.corpus), allDocuments: input.allDocuments, tokens: Number(input.evalTokens ?? EVAL_TOKENS) },
      contextSize,
      bosTokenId,
    },
    peer,
    sae: input.sae,
    folder: sae.uri,
    digest: undefined,
  };
  const measured = await runStage<Evaluation | undefined>(new URL("../evaluate/evaluate-thread.ts", import.meta.url), task, stageListener(ctx));
  if (measured === undefined) throw failedPrecondition("NOTHING_HELD_BACK", "no document of the corpus is held back: give more text, or set all_documents");
  return toJson(SaeEvaluationSchema, evaluationMessage(measured, input.allDocuments ? "tokens" : "held-back tokens"));
}

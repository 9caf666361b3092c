import { fromJson, toJson, type JsonValue } from "@bufbuild/protobuf";
import { EvaluateSaeRequestSchema, SaeEvaluationSchema, type EvaluateSaeRequest } from "@mistral-sae/contracts/mistral_sae/training/v1/training";
import { defineJob, type Job, type JobContext } from "@mistral-sae/jobs";
import { failedPrecondition, invalidArgument, parseName } from "@mistral-sae/rpc";
import type { Evaluation } from "../evaluate/evaluate.ts";
import type { EvaluateTask } from "../evaluate/evaluate-thread.ts";
import { InferencePeer } from "../peer/inference-peer.ts";
import { SaePeer } from "../peer/sae-peer.ts";
import { runStage } from "../threads/run-stage.ts";
import { corpusSourceOf } from "../wire/corpus-source.ts";
import { evaluationMessage } from "../wire/evaluation-message.ts";
import { stageListener } from "./stage-listener.ts";
import type { JobDependencies } from "./train-job.ts";

export const EVALUATE_KIND = "evaluate-sae";

const EVAL_TOKENS = 200_000;
const CONTEXT_SIZE = 128;

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

async function evaluation(ctx: JobContext<EvaluateSaeRequest>, { inference, patienceMs }: JobDependencies): Promise<JsonValue> {
  const { input, signal } = ctx;
  const { model } = parseName("models/{model}/saes/{sae}", input.sae, "sae");
  const patience = { signal, giveUpAfterMs: patienceMs, onAway: (error: Error) => ctx.warn(`the inference service was away: ${error.message}`) };
  const sae = await new SaePeer(inference, patience).load(input.sae);
  const { model: facts } = await new InferencePeer(inference, `models/${model}`, patience).capabilities();
  const contextSize = input.contextSize || sae.contextSize || Math.min(CONTEXT_SIZE, facts?.nCtx ?? CONTEXT_SIZE);
  if (contextSize < 2 || contextSize > (facts?.nCtx ?? contextSize)) throw invalidArgument("context_size", `got ${contextSize}, wanted 2 to ${facts?.nCtx ?? contextSize}`);
  const task: EvaluateTask = {
    plan: {
      hookName: sae.hookName,
      text: { corpus: corpusSourceOf(input.corpus), allDocuments: input.allDocuments, tokens: Number(input.evalTokens ?? EVAL_TOKENS) },
      contextSize,
      bosTokenId: facts?.bosTokenId,
    },
    peer: { address: inference, model: `models/${model}`, patienceMs },
    sae: input.sae,
    folder: sae.uri,
    digest: undefined,
  };
  const measured = await runStage<Evaluation | undefined>(new URL("../evaluate/evaluate-thread.ts", import.meta.url), task, stageListener(ctx));
  if (measured === undefined) throw failedPrecondition("NOTHING_HELD_BACK", "no document of the corpus is held back: give more text, or set all_documents");
  return toJson(SaeEvaluationSchema, evaluationMessage(measured, input.allDocuments ? "tokens" : "held-back tokens"));
}

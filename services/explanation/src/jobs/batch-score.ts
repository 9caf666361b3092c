import { BatchExplainResultSchema, BatchScoreExplanationsRequestSchema } from "@mistral-sae/contracts/mistral_sae/explanation/v1/explanation";
import { defineJob, type Job } from "@mistral-sae/jobs";
import type { ExplanationDesk } from "../explanation-desk.ts";
import { BudgetSpent } from "../llm/spending.ts";
import type { ExplanationKey } from "../names.ts";
import { advance, beginStage, chunks, OperationWork } from "./operation-work.ts";

/** What became of a shard's explanations. */
interface Counts {
  readonly ok: number;
  readonly failed: number;
  readonly skipped: number;
  readonly existing: number;
}

export const batchScoreKind = "batch-score";
const explanationsPerShard = 8;

/** Scores the newest explanation of each feature; each score once. Local summaries are skipped: nothing scores them. */
export function batchScoreJob(desk: ExplanationDesk): Job {
  const operations = new OperationWork(desk);
  return defineJob({
    kind: batchScoreKind,
    input: BatchScoreExplanationsRequestSchema,
    output: BatchExplainResultSchema,
    plan: async ({ parent, featureIndices }, ctx) => {
      const keys = desk.store.newest(parent, featureIndices).map(({ key }) => key);
      beginStage(ctx, "score", "explanations", keys.length);
      return chunks(keys, explanationsPerShard);
    },
    run: async (keys: readonly ExplanationKey[], ctx): Promise<Counts> => {
      const counts = { ok: 0, failed: 0, skipped: 0, existing: 0 };
      const work = operations.begin(ctx, ctx.input.maxCostUsd, ctx.input.config?.maxConcurrency ?? 0);
      for (const key of keys) {
        const stored = desk.store.get(key);
        if (stored === undefined || stored.explanation.explanationModel === "") {
          counts.skipped += 1;
        } else {
          try {
            const scores = await desk.score(stored, ctx.input.config, work);
            if (scores.every(({ operation }) => operation !== ctx.name)) counts.existing += 1;
            else if (scores.every(({ score }) => score.n > 0 && score.nFailed < score.n)) counts.ok += 1;
            else counts.failed += 1;
          } catch (error) {
            if (!(error instanceof BudgetSpent)) throw error;
            counts.skipped += 1;
            ctx.warn("explanations were left out when the budget was spent");
          }
        }
        ctx.signal.throwIfAborted();
      }
      advance(ctx, "score", "explanations", keys.length);
      return counts;
    },
    reduce: async (_request, results, ctx) => {
      operations.end(ctx);
      const { promptTokens, completionTokens, costUsd } = desk.store.spentBy(ctx.name);
      const sum = (key: keyof Counts): bigint => BigInt(results.reduce((total, counts) => total + counts[key], 0));
      return {
        nOk: sum("ok"),
        nFailed: sum("failed"),
        nSkipped: sum("skipped"),
        nExisting: sum("existing"),
        usage: { promptTokens, completionTokens },
        costUsd,
      };
    },
  });
}

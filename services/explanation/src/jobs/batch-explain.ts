import { BatchExplainRequestSchema, BatchExplainResultSchema, ExplanationStatus } from "@mistral-sae/contracts/mistral_sae/explanation/v1/explanation";
import { defineJob, type Job, type JobContext } from "@mistral-sae/jobs";
import type { Method } from "../explainers/explanation-maker.ts";
import type { ExplanationDesk } from "../explanation-desk.ts";
import { featuresPerCall } from "../feature-source.ts";
import { inParallel } from "../in-parallel.ts";
import { BudgetSpent } from "../llm/spending.ts";
import { advance, beginStage, chunks, OperationWork } from "./operation-work.ts";

/** What became of a shard's features. */
interface Counts {
  readonly ok: number;
  readonly failed: number;
  readonly skipped: number;
  readonly existing: number;
}

export const batchExplainKind = "batch-explain";

/**
 * Explains many features, each once whatever happens in between: an explanation is stored as soon as it is made and
 * carries the operation's name, so that a shard that runs again finds its own and counts them as made.
 */
export function batchExplainJob(desk: ExplanationDesk): Job {
  const operations = new OperationWork(desk);
  return defineJob({
    kind: batchExplainKind,
    input: BatchExplainRequestSchema,
    output: BatchExplainResultSchema,
    shardsInParallel: 2,
    plan: async (request, ctx) => {
      const { parent, featureIndices } = request;
      const features = featureIndices.length > 0 ? [...new Set(featureIndices)].sort((a, b) => a - b) : await desk.source.liveFeatures(parent, ctx.signal);
      // Another index in the middle of the operation does not make it begin anew.
      const method = await desk.maker.method(parent, request.config, ctx.signal);
      ctx.state.set("version", method.version);
      beginStage(ctx, "explain", "features", features.length);
      return chunks(features, featuresPerCall);
    },
    run: async (features: readonly number[], ctx): Promise<Counts> => {
      const { parent, config, maxCostUsd } = ctx.input;
      const work = operations.begin(ctx, maxCostUsd, config?.maxConcurrency ?? 0, async () => await desk.maker.method(parent, config, ctx.signal));
      const resolved = await work.method;
      if (resolved === undefined) throw new Error("an operation that explains has no method");
      const method: Method = { ...resolved, version: String(ctx.state.get("version")) };
      await desk.explainAll(parent, features, method, false, work);
      const counts = count(desk, parent, features, method, ctx);
      advance(ctx, "explain", "features", features.length);
      return counts;
    },
    reduce: async (request, results, ctx) => {
      const { parent, score } = request;
      if (score !== undefined) {
        const work = operations.begin(ctx, request.maxCostUsd, score.maxConcurrency);
        const { id } = await desk.maker.method(parent, request.config, ctx.signal);
        const features = request.featureIndices.length > 0 ? request.featureIndices : await desk.source.liveFeatures(parent, ctx.signal);
        const made = [...desk.store.find(parent, features, id, String(ctx.state.get("version"))).values()].filter(({ explanation }) => explanation.status === ExplanationStatus.OK);
        beginStage(ctx, "score", "explanations", made.length);
        ctx.state.set("score.done", 0);
        let unscored = 0;
        await inParallel(made, 1, ctx.signal, async (stored) => {
          try {
            await desk.score(stored, score, work);
          } catch (error) {
            if (!(error instanceof BudgetSpent)) throw error;
            unscored += 1;
          }
          advance(ctx, "score", "explanations", 1);
        });
        if (unscored > 0) ctx.warn(`${unscored} explanations were not scored: the budget of ${request.maxCostUsd} USD was spent`);
      }
      operations.end(ctx);
      const { promptTokens, completionTokens, costUsd } = desk.store.spentBy(ctx.name);
      const sum = (key: keyof Counts): bigint => BigInt(results.reduce((total, counts) => total + counts[key], 0));
      return {
        nOk: sum("ok"),
        nFailed: sum("failed"),
        nSkipped: sum("skipped"),
        nExisting: sum("existing"),
        usage: { promptTokens: Math.min(promptTokens, 2 ** 32 - 1), completionTokens: Math.min(completionTokens, 2 ** 32 - 1) },
        costUsd,
      };
    },
  });
}

function count(desk: ExplanationDesk, sae: string, features: readonly number[], { id, version }: Method, ctx: JobContext): Counts {
  const counts = { ok: 0, failed: 0, skipped: 0, existing: 0 };
  const found = desk.store.find(sae, features, id, version);
  for (const feature of features) {
    const stored = found.get(feature);
    if (stored === undefined) counts.skipped += 1;
    else if (stored.operation !== ctx.name) counts.existing += 1;
    else if (stored.explanation.status === ExplanationStatus.OK) counts.ok += 1;
    else if (stored.explanation.status === ExplanationStatus.FAILED) counts.failed += 1;
    else counts.skipped += 1;
  }
  const unpaid = features.length - found.size;
  if (unpaid > 0) ctx.warn(`features were left out when the budget was spent (${unpaid} of those from ${features[0]} to ${features.at(-1)})`);
  return counts;
}

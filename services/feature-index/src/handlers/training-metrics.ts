import type { FeatureIndexService } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import { type Handlers, invalidArgument, parseName } from "@mistral-sae/rpc";
import type { Parts } from "../parts.ts";
import { dropMetricsAfter, writeMetrics } from "../store/training-metrics.ts";

const MOST_ROWS = 10_000;

/** Keeps training metrics for SQL users. The training service sends each row again until it is acknowledged. */
export function trainingMetricsHandlers({ clickhouse }: Pick<Parts, "clickhouse">): Pick<Handlers<typeof FeatureIndexService>, "recordTrainingMetrics"> {
  return {
    recordTrainingMetrics: async ({ trainingRun, rows, dropAfterStep }, { signal }) => {
      parseName("trainingRuns/{run}", trainingRun, "training_run");
      if (rows.length > MOST_ROWS) throw invalidArgument("rows", `got ${rows.length}, wanted at most ${MOST_ROWS}`);
      const behind = rows.findIndex(({ step }, at) => step <= (rows[at - 1]?.step ?? 0n));
      if (behind >= 0) throw invalidArgument(`rows[${behind}].step`, `got ${rows[behind]?.step}, wanted more than ${rows[behind - 1]?.step ?? 0n}`);
      if (dropAfterStep !== undefined) await dropMetricsAfter(clickhouse, trainingRun, dropAfterStep, signal);
      await writeMetrics(clickhouse, trainingRun, rows, signal);
      return { rows: rows.length };
    },
  };
}

import { type ClickHouse, fixedColumn, stringColumn } from "@mistral-sae/clickhouse";
import type { TrainingMetricsRow } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import { stored, T } from "./tables.ts";

/** Columns of the table, by the field of a row that fills them. */
const FLOATS = {
  loss: "loss",
  mseLoss: "mse_loss",
  auxLoss: "aux_loss",
  sparsityLoss: "sparsity_loss",
  fvu: "fvu",
  l0: "l0",
  deadFraction: "dead_fraction",
  gradNorm: "grad_norm",
  lr: "lr",
  tokensPerSecond: "tokens_per_second",
  bufferWaitShare: "buffer_wait_share",
} as const satisfies Partial<Record<keyof TrainingMetricsRow, string>>;

/** Forgets the metrics of a run after a step. Nothing is changed when there are none. */
export async function dropMetricsAfter(clickhouse: ClickHouse, run: string, step: bigint, signal: AbortSignal): Promise<void> {
  const where = "training_run = {run:String} AND step > {step:UInt64}";
  const params = { run, step: String(step) };
  const { n } = await clickhouse.row<{ n: number }>(`SELECT count() AS n FROM ${T.trainingMetrics} WHERE ${where}`, params, { signal });
  if (n > 0) await clickhouse.command(`DELETE FROM ${stored(clickhouse, T.trainingMetrics)} WHERE ${where}`, params, { signal, settings: { lightweight_deletes_sync: "2" } });
}

/** Stores metrics of a run; a step that is there is replaced. */
export async function writeMetrics(clickhouse: ClickHouse, run: string, rows: readonly TrainingMetricsRow[], signal: AbortSignal): Promise<void> {
  if (rows.length === 0) return;
  await clickhouse.insertColumns(
    T.trainingMetrics,
    [
      stringColumn("training_run", rows.map(() => run)),
      fixedColumn("step", "UInt64", BigUint64Array.from(rows, ({ step }) => step)),
      fixedColumn("n_training_tokens", "UInt64", BigUint64Array.from(rows, ({ nTrainingTokens }) => nTrainingTokens)),
      ...Object.entries(FLOATS).map(([field, column]) => fixedColumn(column, "Float64", Float64Array.from(rows, (row) => row[field as keyof typeof FLOATS]))),
      fixedColumn("version", "UInt64", new BigUint64Array(rows.length).fill(BigInt(Date.now()))),
    ],
    { signal },
  );
}

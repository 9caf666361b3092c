import type { DatabaseSync } from "node:sqlite";
import { fromBinary } from "@bufbuild/protobuf";
import { TrainingMetricsSchema, type TrainingMetrics } from "@mistral-sae/contracts/mistral_sae/training/v1/training";

/** What the feature index lacks of a run's metrics. */
export interface UnsentMetrics {
  readonly run: string;
  /** In the order of steps; the first of those that it lacks. */
  readonly rows: readonly TrainingMetrics[];
  /** Steps after this one were taken back, and have to be dropped there first. */
  readonly dropAfterStep: number | undefined;
  /** Times that steps were taken back. */
  readonly resets: number;
}

/** How far the feature index knows the catalogue's metrics. The catalogue itself is what waits: nothing is held beside it. */
export class MetricsOutbox {
  readonly #db: DatabaseSync;

  constructor(database: DatabaseSync) {
    this.#db = database;
  }

  /** Runs of which something is unsent, oldest first. */
  runs(): string[] {
    return this.#db
      .prepare("select id from runs where metrics_drop is not null or exists (select 1 from metrics where run = seq and step > metrics_sent) order by seq")
      .all()
      .map(({ id }) => String(id));
  }

  /** The next piece of a run; undefined when all of it was sent. */
  next(run: string, most: number): UnsentMetrics | undefined {
    const row = this.#db.prepare("select seq, metrics_sent, metrics_drop, metrics_resets from runs where id = ?").get(run);
    if (row === undefined) return undefined;
    const rows = this.#db
      .prepare("select data from metrics where run = ? and step > ? order by step limit ?")
      .all(Number(row["seq"]), Number(row["metrics_sent"]), most)
      .map((columns) => fromBinary(TrainingMetricsSchema, columns["data"] as Uint8Array));
    const drop = row["metrics_drop"];
    if (rows.length === 0 && drop === null) return undefined;
    return { run, rows, dropAfterStep: drop === null ? undefined : Number(drop), resets: Number(row["metrics_resets"]) };
  }

  /** A piece has arrived. When steps were taken back meanwhile it may hold some of them, and is sent again. */
  arrived({ run, rows, resets }: UnsentMetrics): void {
    const last = rows.at(-1)?.step;
    this.#db
      .prepare("update runs set metrics_sent = coalesce(?, metrics_sent), metrics_drop = null where id = ? and metrics_resets = ?")
      .run(last ?? null, run, resets);
  }
}

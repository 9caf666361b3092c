import { setTimeout as sleep } from "node:timers/promises";
import type { FeatureIndexService } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import type { TrainingMetrics } from "@mistral-sae/contracts/mistral_sae/training/v1/training";
import { Code, toRpcError, type Client, type RpcError } from "@mistral-sae/rpc";
import type { Logger } from "@mistral-sae/telemetry";
import { runName } from "../runs/run-message.ts";
import type { MetricsOutbox } from "./metrics-outbox.ts";

/** How metrics are sent. */
export interface SenderOptions {
  /** Least time between two rounds, so that metrics go in batches. */
  readonly everyMs: number;
  /** Longest time between two tries while the feature index is away. */
  readonly longestDelayMs: number;
  readonly timeoutMs: number;
}

export const senderDefaults: SenderOptions = { everyMs: 1000, longestDelayMs: 30_000, timeoutMs: 30_000 };

const ROWS_A_CALL = 1000;
/** Refusals that a repetition does not change. */
const LASTING: ReadonlySet<Code> = new Set([Code.InvalidArgument, Code.Unimplemented, Code.PermissionDenied, Code.Unauthenticated]);

/**
 * Sends metrics from the catalogue to the feature index, beside the training. It never fails a run nor waits for one: while the
 * feature index is away the metrics stay where they are, and follow once it is back, also after a restart of this service.
 */
export class MetricsSender {
  readonly #outbox: MetricsOutbox;
  readonly #client: Pick<Client<typeof FeatureIndexService>, "recordTrainingMetrics">;
  readonly #log: Logger;
  readonly #options: SenderOptions;
  readonly #abort = new AbortController();
  /** Runs that the feature index refuses for good. */
  readonly #refused = new Set<string>();
  #news = false;
  #working: Promise<void> | undefined;

  constructor(outbox: MetricsOutbox, client: Pick<Client<typeof FeatureIndexService>, "recordTrainingMetrics">, log: Logger, options: Partial<SenderOptions> = {}) {
    this.#outbox = outbox;
    this.#client = client;
    this.#log = log;
    this.#options = { ...senderDefaults, ...options };
  }

  /** There may be something to send. */
  wake(): void {
    this.#news = true;
    if (this.#abort.signal.aborted) return;
    this.#working ??= this.#work().finally(() => {
      this.#working = undefined;
      if (this.#news) this.wake();
    });
  }

  /** Stops; what was not sent is sent by the next process. */
  async close(): Promise<void> {
    this.#abort.abort();
    await this.#working;
  }

  async #work(): Promise<void> {
    const { everyMs, longestDelayMs } = this.#options;
    const { signal } = this.#abort;
    let away: RpcError | undefined;
    let delay = everyMs;
    while (this.#news || away !== undefined) {
      await sleep(delay, undefined, { signal }).catch(() => undefined);
      if (signal.aborted) return;
      this.#news = false;
      const before = away;
      away = await this.#round();
      if (signal.aborted) return;
      if (away !== undefined && before === undefined) this.#log.warn("the feature index is away: training metrics wait in the catalogue", { error: away.message });
      if (away === undefined && before !== undefined) this.#log.info("the feature index is back: training metrics were sent");
      delay = away === undefined ? everyMs : Math.min(delay * 2, longestDelayMs);
    }
  }

  /** Sends everything. @returns Why it could not, for an error that may pass. */
  async #round(): Promise<RpcError | undefined> {
    for (const run of this.#outbox.runs()) {
      if (this.#refused.has(run)) continue;
      try {
        for (let unsent = this.#outbox.next(run, ROWS_A_CALL); unsent !== undefined; unsent = this.#outbox.next(run, ROWS_A_CALL)) {
          const { rows, dropAfterStep } = unsent;
          const request = { trainingRun: runName(run), rows: rows.map(rowOf), ...(dropAfterStep === undefined ? {} : { dropAfterStep: BigInt(dropAfterStep) }) };
          await this.#client.recordTrainingMetrics(request, { signal: AbortSignal.any([this.#abort.signal, AbortSignal.timeout(this.#options.timeoutMs)]) });
          this.#outbox.arrived(unsent);
        }
      } catch (cause) {
        const error = toRpcError(cause);
        if (!LASTING.has(error.code)) return error;
        this.#refused.add(run);
        this.#log.error("the feature index refuses the metrics of a run", { run, error: error.message });
      }
    }
    return undefined;
  }
}

function rowOf({ topkThreshold: _threshold, nResampled: _resampled, $typeName: _type, $unknown: _unknown, ...row }: TrainingMetrics) {
  return row;
}

import type { MessageInitShape } from "@bufbuild/protobuf";
import type { OperationProgressSchema } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";
import type { StageProgress } from "../definition.ts";

/** Progress as the ledger keeps it between processes. */
export interface SavedProgress {
  readonly stage: string;
  readonly doneUnits: string;
  readonly totalUnits: string;
  readonly unit: string;
  /** Seconds spent so far in the stage under way. */
  readonly openSeconds: number;
  readonly warnings: readonly string[];
  readonly stageSeconds: Readonly<Record<string, number>>;
}

/** Progress of an operation that has not begun. */
export const noProgress: SavedProgress = {
  stage: "",
  doneUnits: "0",
  totalUnits: "0",
  unit: "",
  openSeconds: 0,
  warnings: [],
  stageSeconds: {},
};

const rateWindowMs = 10_000;
const warningsKept = 100;

/** Times stages, measures the recent rate and keeps warnings. Seconds count only while the operation runs. */
export class ProgressTracker {
  readonly #now: () => number;
  readonly #warnings: string[];
  readonly #stageSeconds: Record<string, number>;
  #stage: string;
  #done: bigint;
  #total: bigint;
  #unit: string;
  #openSeconds: number;
  #since: number;
  /** (ms, units done) of the stage under way, oldest first. */
  #samples: { readonly ms: number; readonly done: bigint }[] = [];

  constructor(saved: SavedProgress, now: () => number) {
    this.#now = now;
    this.#warnings = [...saved.warnings];
    this.#stageSeconds = { ...saved.stageSeconds };
    this.#stage = saved.stage;
    this.#done = BigInt(saved.doneUnits);
    this.#total = BigInt(saved.totalUnits);
    this.#unit = saved.unit;
    this.#openSeconds = saved.openSeconds;
    this.#since = now();
  }

  /** Stage under way; empty before the first. */
  get stage(): string {
    return this.#stage;
  }

  get stageSeconds(): Readonly<Record<string, number>> {
    return this.#stageSeconds;
  }

  report(progress: StageProgress): void {
    const now = this.#now();
    if (progress.stage !== this.#stage) {
      this.#closeStage(now);
      this.#stage = progress.stage;
      this.#total = 0n;
      this.#unit = "";
      this.#samples = [];
    }
    this.#done = BigInt(progress.doneUnits);
    if (progress.totalUnits !== undefined) this.#total = BigInt(progress.totalUnits);
    if (progress.unit !== undefined) this.#unit = progress.unit;
    this.#sample(now);
  }

  /** Returns whether the warning is new. */
  warn(text: string): boolean {
    if (this.#warnings.includes(text) || this.#warnings.length > warningsKept) return false;
    this.#warnings.push(this.#warnings.length === warningsKept ? "more warnings followed; they are in the log" : text);
    return true;
  }

  /** Ends the stage under way. */
  finish(): void {
    this.#closeStage(this.#now());
    this.#samples = [];
  }

  save(): SavedProgress {
    return {
      stage: this.#stage,
      doneUnits: String(this.#done),
      totalUnits: String(this.#total),
      unit: this.#unit,
      openSeconds: this.#openSeconds + this.#elapsed(this.#now()),
      warnings: this.#warnings,
      stageSeconds: this.#stageSeconds,
    };
  }

  message(): MessageInitShape<typeof OperationProgressSchema> {
    const rate = this.#rate();
    const left = Number(this.#total - this.#done);
    const eta = rate > 0 && left > 0 ? left / rate : undefined;
    const whole = eta === undefined ? 0 : Math.floor(eta);
    return {
      stage: this.#stage,
      doneUnits: this.#done,
      totalUnits: this.#total,
      unit: this.#unit,
      rate,
      warnings: [...this.#warnings],
      stageSeconds: { ...this.#stageSeconds },
      ...(eta === undefined ? {} : { eta: { seconds: BigInt(whole), nanos: Math.floor((eta - whole) * 1e9) } }),
    };
  }

  #closeStage(now: number): void {
    if (this.#stage !== "") {
      const seconds = this.#openSeconds + this.#elapsed(now);
      this.#stageSeconds[this.#stage] = (this.#stageSeconds[this.#stage] ?? 0) + seconds;
    }
    this.#openSeconds = 0;
    this.#since = now;
  }

  #elapsed(now: number): number {
    return this.#stage === "" ? 0 : Math.max(0, now - this.#since) / 1000;
  }

  #sample(now: number): void {
    const last = this.#samples.at(-1);
    if (last !== undefined && this.#done < last.done) this.#samples = [];
    // A stage may report at every token: a hundred samples a window are enough for a rate.
    const before = this.#samples.at(-2);
    if (before !== undefined && now - before.ms < rateWindowMs / 100) this.#samples.pop();
    this.#samples.push({ ms: now, done: this.#done });
    while (this.#samples.length > 2 && now - (this.#samples[0]?.ms ?? now) > rateWindowMs) this.#samples.shift();
  }

  #rate(): number {
    const first = this.#samples[0];
    const last = this.#samples.at(-1);
    if (first === undefined || last === undefined || last.ms === first.ms) return 0;
    return (Number(last.done - first.done) * 1000) / (last.ms - first.ms);
  }
}

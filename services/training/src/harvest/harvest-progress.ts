import type { ShardRecord } from "@mistral-sae/activations";
import { isHeldBack, type Corpus } from "@mistral-sae/corpus";
import type { StageProgress } from "@mistral-sae/jobs";

export interface ProgressSink {
  progress(progress: StageProgress): void;
}

/** Characters counted at most for each row wanted: a corpus with more has rows enough for certain. */
const CHARACTERS_A_ROW = 32;

/** Rows harvested of each hook, of an estimate of all that gets better with each shard. */
export class HarvestProgress {
  readonly #sink: ProgressSink;
  readonly #rowsWanted: number;
  /** Characters of the documents before each ordinal that may be trained on. */
  readonly #charactersBefore: Float64Array;

  private constructor(sink: ProgressSink, rowsWanted: number, charactersBefore: Float64Array) {
    this.#sink = sink;
    this.#rowsWanted = rowsWanted;
    this.#charactersBefore = charactersBefore;
  }

  static async start(corpus: Corpus, rowsWanted: number, done: readonly ShardRecord[], sink: ProgressSink, signal: AbortSignal): Promise<HarvestProgress> {
    const before = [0];
    let characters = 0;
    for await (const { text } of corpus.documents(signal)) {
      if (!isHeldBack(text)) characters += text.length;
      before.push(characters);
      if (characters > rowsWanted * CHARACTERS_A_ROW) break;
    }
    const progress = new HarvestProgress(sink, rowsWanted, Float64Array.from(before));
    progress.report(done);
    return progress;
  }

  report(done: readonly ShardRecord[]): void {
    const rows = done.reduce((sum, shard) => sum + shard.rows, 0);
    const characters = this.#charactersBefore[done.at(-1)?.documentEnd ?? 0] ?? 0;
    const all = this.#charactersBefore.at(-1) ?? 0;
    const estimate = characters === 0 ? 0 : Math.round((rows * all) / characters);
    this.#sink.progress({ stage: "harvest", doneUnits: rows, totalUnits: Math.min(estimate, Math.max(this.#rowsWanted, rows)), unit: "tokens" });
  }
}

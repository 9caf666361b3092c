import type { RowPlaces } from "@mistral-sae/activations";
import type { PromptRows } from "../peer/inference-peer.ts";
import { rowsOf, type Window } from "../peer/tokens.ts";

/** A shard being filled: some documents' windows and room for the rows that count, in the order of the corpus. */
export class ShardBuffer {
  readonly index: number;
  readonly rowStart: number;
  readonly documentStart: number;
  /** One past the last document. */
  readonly documentEnd: number;
  readonly windows: readonly Window[];
  readonly rows: number;
  /** First row of each window. */
  readonly #firstRow: Uint32Array;
  readonly #rowBytes: number;
  #bytes: Uint8Array | undefined;

  constructor(shard: Pick<ShardBuffer, "index" | "rowStart" | "documentStart" | "documentEnd" | "windows">, rowBytes: number) {
    this.index = shard.index;
    this.rowStart = shard.rowStart;
    this.documentStart = shard.documentStart;
    this.documentEnd = shard.documentEnd;
    this.windows = shard.windows;
    this.#rowBytes = rowBytes;
    let rows = 0;
    this.#firstRow = Uint32Array.from(shard.windows, (window) => {
      const first = rows;
      rows += rowsOf(window);
      return first;
    });
    this.rows = rows;
  }

  /** The rows, [rows, width]; zeros where nothing was put yet. */
  get bytes(): Uint8Array {
    this.#bytes ??= new Uint8Array(this.rows * this.#rowBytes);
    return this.#bytes;
  }

  /** Copies the rows that count of one window. `rows.prompt` is counted from `firstWindow`. */
  put(rows: PromptRows, firstWindow: number): void {
    const at = firstWindow + rows.prompt;
    const special = this.windows[at]?.special ?? new Uint8Array(0);
    let to = this.#firstRow[at] ?? 0;
    for (let position = 0; position < rows.start; position += 1) to += 1 - (special[position] ?? 1);
    const count = rows.bytes.length / this.#rowBytes;
    for (let row = 0; row < count; ) {
      let run = 0;
      while (row + run < count && special[rows.start + row + run] === 0) run += 1;
      this.bytes.set(rows.bytes.subarray(row * this.#rowBytes, (row + run) * this.#rowBytes), to * this.#rowBytes);
      to += run;
      row += Math.max(run, 1);
    }
  }

  /** Document and position of each row. */
  places(): RowPlaces {
    const documents = new Uint32Array(this.rows);
    const positions = new Uint32Array(this.rows);
    let row = 0;
    for (const window of this.windows) {
      for (let at = 0; at < window.ids.length; at += 1) {
        if (window.special[at] !== 0) continue;
        documents[row] = window.docId;
        positions[row] = window.position + at - window.bos;
        row += 1;
      }
    }
    return { documents, positions };
  }
}

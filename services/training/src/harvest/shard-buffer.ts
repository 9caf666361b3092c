import type { RowPlaces, ShardRecord } from "@mistral-sae/activations";
import type { PromptRows } from "../peer/inference-peer.ts";
import { rowsOf, type Window } from "../peer/tokens.ts";

/** A hook whose rows a shard takes. */
export interface HookRows {
  readonly hookName: string;
  readonly rowBytes: number;
}

/** A shard being filled: some documents' windows and, for each hook, room for the rows that count, in the order of the corpus. */
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
  readonly #hooks: ReadonlyMap<string, HookRows>;
  readonly #bytes = new Map<string, Uint8Array>();

  private constructor(shard: Omit<ShardRecord, "sha256" | "rows">, windows: readonly Window[], rows: number | undefined, hooks: readonly HookRows[]) {
    this.index = shard.index;
    this.rowStart = shard.rowStart;
    this.documentStart = shard.documentStart;
    this.documentEnd = shard.documentEnd;
    this.windows = windows;
    this.#hooks = new Map(hooks.map((hook) => [hook.hookName, hook]));
    let first = 0;
    this.#firstRow = Uint32Array.from(windows, (window) => {
      const own = first;
      first += rowsOf(window);
      return own;
    });
    this.rows = rows ?? first;
  }

  /** A shard whose rows are still to come. */
  static filling(shard: Omit<ShardRecord, "sha256" | "rows"> & { readonly windows: readonly Window[] }, hooks: readonly HookRows[]): ShardBuffer {
    return new ShardBuffer(shard, shard.windows, undefined, hooks);
  }

  /** A shard that no hook lacks. */
  static passedOver(record: ShardRecord): ShardBuffer {
    return new ShardBuffer(record, [], record.rows, []);
  }

  get hookNames(): readonly string[] {
    return [...this.#hooks.keys()];
  }

  /** The rows of a hook, [rows, width]; zeros where nothing was put yet. */
  bytesOf(hookName: string): Uint8Array {
    const bytes = this.#bytes.get(hookName) ?? new Uint8Array(this.rows * this.#rowBytesOf(hookName));
    this.#bytes.set(hookName, bytes);
    return bytes;
  }

  /** Copies the rows that count of one hook and window. `rows.prompt` is counted from `firstWindow`. */
  put(rows: PromptRows, firstWindow: number): void {
    const rowBytes = this.#rowBytesOf(rows.hookName);
    const into = this.bytesOf(rows.hookName);
    const at = firstWindow + rows.prompt;
    const special = this.windows[at]?.special ?? new Uint8Array(0);
    let to = this.#firstRow[at] ?? 0;
    for (let position = 0; position < rows.start; position += 1) to += 1 - (special[position] ?? 1);
    const count = rows.bytes.length / rowBytes;
    for (let row = 0; row < count; ) {
      let run = 0;
      while (row + run < count && special[rows.start + row + run] === 0) run += 1;
      into.set(rows.bytes.subarray(row * rowBytes, (row + run) * rowBytes), to * rowBytes);
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

  #rowBytesOf(hookName: string): number {
    const hook = this.#hooks.get(hookName);
    if (hook === undefined) throw new Error(`shard ${this.index} takes no rows of ${hookName}`);
    return hook.rowBytes;
  }
}

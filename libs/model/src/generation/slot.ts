import type { SequenceEdits } from "../edits/compiled.ts";
import type { CacheRow } from "../runtime/kv-arena.ts";
import { greedy, type SamplingParams } from "../sampling/params.ts";

/** What a slot is made with beside its tokens. */
export interface SlotSettings {
  readonly nCtx: number;
  readonly dModel: number;
  /** Tokens that were given; those after them were generated. */
  readonly promptLength: number;
  readonly edits: SequenceEdits | undefined;
  readonly sampling?: SamplingParams | undefined;
  /** Tokens after which the sequence is over. */
  readonly endIds?: readonly number[] | undefined;
}

/** A sequence under way: its tokens, its cache, and how its next token is chosen. */
export class Slot {
  readonly cache: CacheRow;
  readonly edits: SequenceEdits | undefined;
  readonly sampling: SamplingParams;
  readonly promptLength: number;
  /** Residual at the end of the layers, of the last token that ran. */
  readonly last: Float32Array;
  /** The token chosen last, fed next unless another is given. */
  pending = 0;
  readonly #endIds: readonly number[];
  readonly #tokens: Uint32Array;
  #length: number;

  constructor(tokens: Uint32Array, cache: CacheRow, settings: SlotSettings) {
    this.cache = cache;
    this.edits = settings.edits;
    this.sampling = settings.sampling ?? greedy;
    this.promptLength = settings.promptLength;
    this.#endIds = settings.endIds ?? [];
    this.last = new Float32Array(settings.dModel);
    this.#tokens = new Uint32Array(settings.nCtx);
    this.#tokens.set(tokens);
    this.#length = tokens.length;
  }

  /** Whether the token chosen last ended the sequence. */
  get ended(): boolean {
    return this.#endIds.includes(this.pending);
  }

  /** The tokens fed so far, a view. */
  get tokens(): Uint32Array {
    return this.#tokens.subarray(0, this.#length);
  }

  /** Notes a token that is being fed. */
  push(token: number): void {
    this.#tokens[this.#length++] = token;
  }

  /** The same sequence over another cache row; the record of its edits starts anew. */
  fork(cache: CacheRow): Slot {
    const edits = this.edits?.fork();
    const { promptLength, sampling } = this;
    const copy = new Slot(this.tokens, cache, { nCtx: this.#tokens.length, dModel: this.last.length, promptLength, edits, sampling, endIds: this.#endIds });
    copy.last.set(this.last);
    copy.pending = this.pending;
    return copy;
  }
}

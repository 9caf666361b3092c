import { arrayColumn, constantColumn, fixedColumn, type NativeColumn, stringColumn } from "@mistral-sae/clickhouse";
import { type Document, isHeldBack, windowsOf } from "@mistral-sae/corpus";
import { basename } from "node:path";

/** A document with its ids, BOS not among them. */
export interface TokenizedDocument {
  readonly document: Document;
  readonly ids: Uint32Array;
  /** Indexes of special tokens among the ids: those that the text itself spells. */
  readonly special: readonly number[];
}

/** How documents are cut. */
export interface Cutting {
  readonly contextSize: number;
  /** Put before each window; undefined for models without one. */
  readonly bos: number | undefined;
}

/** Documents and windows of one insert. */
export class CorpusChunk {
  readonly #cutting: Cutting;
  readonly #firstSequence: number;
  readonly #documents: { readonly document: Document; readonly sequenceStart: number; readonly nSequences: number; readonly nTokens: number }[] = [];
  readonly #sequences: { readonly docId: number; readonly source: string; readonly tokenStart: number }[] = [];
  readonly #tokens: number[] = [];
  readonly #tokenEnds: number[] = [];
  readonly #special: number[] = [];
  readonly #specialEnds: number[] = [];

  constructor(cutting: Cutting, firstSequence: number) {
    this.#cutting = cutting;
    this.#firstSequence = firstSequence;
  }

  get nDocuments(): number {
    return this.#documents.length;
  }

  get nSequences(): number {
    return this.#sequences.length;
  }

  /** Special ones included. */
  get nTokens(): number {
    return this.#tokens.length;
  }

  get nSpecialTokens(): number {
    return this.#special.length;
  }

  add({ document, ids, special }: TokenizedDocument): void {
    const { contextSize, bos } = this.#cutting;
    const sequenceStart = this.#firstSequence + this.nSequences;
    const marks = new Set(special);
    let start = 0;
    let tokenStart = 0;
    for (const window of windowsOf(ids, contextSize)) {
      const base = this.#tokens.length;
      if (bos !== undefined) {
        this.#special.push(0);
        this.#tokens.push(bos);
      }
      const first = this.#tokens.length - base;
      this.#sequences.push({ docId: document.docId, source: document.source, tokenStart });
      for (const [i, id] of window.entries()) {
        this.#tokens.push(id);
        if (marks.has(start + i)) this.#special.push(first + i);
        else tokenStart += 1;
      }
      start += window.length;
      this.#tokenEnds.push(this.#tokens.length);
      this.#specialEnds.push(this.#special.length);
    }
    this.#documents.push({ document, sequenceStart, nSequences: this.#firstSequence + this.nSequences - sequenceStart, nTokens: ids.length - marks.size });
  }

  /** Rows of `documents`. */
  documentColumns(corpusId: number): NativeColumn[] {
    const rows = this.#documents;
    const u32 = (pick: (row: (typeof rows)[number]) => number) => Uint32Array.from(rows, pick);
    return [
      constantColumn("corpus_id", "UInt32", corpusId, rows.length),
      fixedColumn("doc_id", "UInt32", u32(({ document }) => document.docId)),
      stringColumn("source", rows.map(({ document }) => document.source)),
      // Not the path: where a corpus lies does not change what it is.
      stringColumn("file_name", rows.map(({ document }) => basename(document.file))),
      fixedColumn("line", "UInt32", u32(({ document }) => document.line)),
      fixedColumn("held_back", "UInt8", Uint8Array.from(rows, ({ document }) => Number(isHeldBack(document.text)))),
      fixedColumn("sequence_start", "UInt32", u32(({ sequenceStart }) => sequenceStart)),
      fixedColumn("n_sequences", "UInt32", u32(({ nSequences }) => nSequences)),
      fixedColumn("n_tokens", "UInt32", u32(({ nTokens }) => nTokens)),
      stringColumn("text", rows.map(({ document }) => document.text)),
      stringColumn("metadata", rows.map(({ document }) => document.metadata)),
    ];
  }

  /** Rows of `sequences`. */
  sequenceColumns(corpusId: number): NativeColumn[] {
    const rows = this.#sequences;
    return [
      constantColumn("corpus_id", "UInt32", corpusId, rows.length),
      fixedColumn("sequence_id", "UInt32", Uint32Array.from(rows, (_, i) => this.#firstSequence + i)),
      fixedColumn("doc_id", "UInt32", Uint32Array.from(rows, ({ docId }) => docId)),
      stringColumn("source", rows.map(({ source }) => source)),
      fixedColumn("token_start", "UInt32", Uint32Array.from(rows, ({ tokenStart }) => tokenStart)),
      arrayColumn("tokens", "UInt32", Uint32Array.from(this.#tokenEnds), Uint32Array.from(this.#tokens)),
      arrayColumn("special", "UInt16", Uint32Array.from(this.#specialEnds), Uint16Array.from(this.#special)),
    ];
  }
}

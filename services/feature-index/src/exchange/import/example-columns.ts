import { arrayColumn, constantColumn, fixedColumn, type FixedTypes, type NativeColumn, stringColumn } from "@mistral-sae/clickhouse";
import { bf16FromF32 } from "@mistral-sae/tensor";
import { basename } from "node:path";
import { BLOCK_POSITIONS } from "../../blocks/block-layout.ts";
import { firstOfLargest, type GivenExample } from "./given-rows.ts";
import { formOf } from "./value-form.ts";

/** Which numbers tokens have, and which of them are special. */
export interface TokenNumbers {
  readonly ids: ReadonlyMap<string, number>;
  readonly special: ReadonlySet<number>;
}

/** What examples are stored as. */
export interface ExampleTarget {
  readonly indexId: number;
  readonly corpusId: number;
  readonly contextSize: number;
}

interface Row {
  readonly given: GivenExample;
  readonly file: string;
  readonly line: number;
  readonly tokens: readonly number[];
  readonly special: readonly number[];
  /** Indexes of the tokens whose value is not 0. */
  readonly firing: readonly number[];
}

/** Stands in staged_examples for a special token. */
export const NO_TOKEN = 0xffffffff;

/** Columns that a run of examples fills, by table. */
export interface ExampleColumns {
  readonly documents: NativeColumn[];
  readonly sequences: NativeColumn[];
  readonly postings: NativeColumn[];
  readonly stagedExamples: NativeColumn[];
  readonly importedRows: NativeColumn[];
}

/** Examples one after another as windows of a corpus of their own: window n is document n. */
export class ExampleRun {
  readonly #target: ExampleTarget;
  readonly #numbers: TokenNumbers;
  readonly #first: number;
  readonly #rows: Row[] = [];

  /** `first`: window of the first example. */
  constructor(target: ExampleTarget, numbers: TokenNumbers, first: number) {
    this.#target = target;
    this.#numbers = numbers;
    this.#first = first;
  }

  get length(): number {
    return this.#rows.length;
  }

  add(given: GivenExample, path: string, line: number): void {
    const tokens = given.tokens.map((text) => this.#numbers.ids.get(text) as number);
    const special: number[] = [];
    const firing: number[] = [];
    for (let i = 0; i < tokens.length; i++) {
      if (this.#numbers.special.has(tokens[i] as number)) special.push(i);
      if (given.values[i] !== 0) firing.push(i);
    }
    this.#rows.push({ given, file: basename(path), line, tokens, special, firing });
  }

  /** Tokens, special tokens and activations of the run. */
  counts(): { readonly nTokens: number; readonly nSpecialTokens: number; readonly nActivations: number } {
    const sum = (pick: (row: Row) => number) => this.#rows.reduce((total, row) => total + pick(row), 0);
    return { nTokens: sum(({ tokens }) => tokens.length), nSpecialTokens: sum(({ special }) => special.length), nActivations: sum(({ firing }) => firing.length) };
  }

  columns(): ExampleColumns {
    return { documents: this.#documents(), sequences: this.#sequences(), postings: this.#postings(), stagedExamples: this.#staged(), importedRows: this.#imported() };
  }

  #documents(): NativeColumn[] {
    const rows = this.#rows;
    return [
      constantColumn("corpus_id", "UInt32", this.#target.corpusId, rows.length),
      this.#windows("doc_id"),
      stringColumn("source", rows.map(({ given }) => given.source)),
      stringColumn("file_name", rows.map(({ file }) => file)),
      fixedColumn("line", "UInt32", Uint32Array.from(rows, ({ line }) => line)),
      constantColumn("held_back", "UInt8", 0, rows.length),
      this.#windows("sequence_start"),
      constantColumn("n_sequences", "UInt32", 1, rows.length),
      fixedColumn("n_tokens", "UInt32", Uint32Array.from(rows, ({ tokens, special }) => tokens.length - special.length)),
      stringColumn("text", rows.map(({ given }) => given.tokens.join(""))),
    ];
  }

  #sequences(): NativeColumn[] {
    const rows = this.#rows;
    return [
      constantColumn("corpus_id", "UInt32", this.#target.corpusId, rows.length),
      this.#windows("sequence_id"),
      this.#windows("doc_id"),
      stringColumn("source", rows.map(({ given }) => given.source)),
      constantColumn("token_start", "UInt32", 0, rows.length),
      lists("tokens", "UInt32", rows.map(({ tokens }) => tokens), Uint32Array),
      lists("special", "UInt16", rows.map(({ special }) => special), Uint16Array),
    ];
  }

  /** One row for the special tokens of a window and one for the others, where its feature fires on them. */
  #postings(): NativeColumn[] {
    const blockSequences = Math.floor(BLOCK_POSITIONS / this.#target.contextSize);
    const groups = new Map<string, { readonly feature: number; readonly block: number; readonly special: number; readonly pos: number[]; readonly acts: number[] }>();
    for (const [i, { given, firing, special }] of this.#rows.entries()) {
      const window = this.#first + i;
      const block = Math.floor(window / blockSequences);
      for (const at of firing) {
        const kind = Number(special.includes(at));
        const key = `${given.feature} ${block} ${kind}`;
        let group = groups.get(key);
        if (group === undefined) groups.set(key, (group = { feature: given.feature, block, special: kind, pos: [], acts: [] }));
        group.pos.push((window % blockSequences) * this.#target.contextSize + at);
        group.acts.push(given.values[at] as number);
      }
    }
    const rows = [...groups.values()];
    const acts = rows.map((row) => row.acts);
    return [
      constantColumn("index_id", "UInt32", this.#target.indexId, rows.length),
      fixedColumn("is_special", "UInt8", Uint8Array.from(rows, ({ special }) => special)),
      fixedColumn("feature_index", "UInt32", Uint32Array.from(rows, ({ feature }) => feature)),
      fixedColumn("block", "UInt32", Uint32Array.from(rows, ({ block }) => block)),
      fixedColumn("n", "UInt32", Uint32Array.from(rows, ({ pos }) => pos.length)),
      fixedColumn("max_activation", "Float32", Float32Array.from(rows, (row) => row.acts[firstOfLargest(row.acts)] as number)),
      lists("pos", "UInt16", rows.map(({ pos }) => pos), Uint16Array),
      halves("acts", acts),
      lists("acts_f32", "Float32", acts, Float32Array),
    ];
  }

  #staged(): NativeColumn[] {
    const rows = this.#rows;
    const acts = rows.map(({ given, firing }) => firing.map((at) => given.values[at] as number));
    return [
      constantColumn("index_id", "UInt32", this.#target.indexId, rows.length),
      this.#features(),
      this.#windows("sequence_id"),
      fixedColumn("bin_min", "Float64", Float64Array.from(rows, ({ given }) => given.binMin)),
      fixedColumn("bin_max", "Float64", Float64Array.from(rows, ({ given }) => given.binMax)),
      fixedColumn("bin_contains", "Float64", Float64Array.from(rows, ({ given }) => given.binContains)),
      fixedColumn("token_index", "UInt16", Uint16Array.from(rows, ({ given }) => given.token)),
      fixedColumn("activation", "Float32", Float32Array.from(rows, ({ given }) => given.values[firstOfLargest(given.values)] as number)),
      lists("pos", "UInt16", rows.map(({ firing }) => firing), Uint16Array),
      halves("acts", acts),
      lists("acts_f32", "Float32", acts, Float32Array),
      lists("token_ids", "UInt32", rows.map(({ tokens, special, firing }) => firing.map((at) => (special.includes(at) ? NO_TOKEN : (tokens[at] as number)))), Uint32Array),
    ];
  }

  #imported(): NativeColumn[] {
    const rows = this.#rows;
    const forms = rows.map(({ given }) => formOf(given.values));
    return [
      constantColumn("index_id", "UInt32", this.#target.indexId, rows.length),
      stringColumn("kind", rows.map(() => "activation")),
      this.#features(),
      this.#windows("ordinal"),
      stringColumn("file", rows.map(({ file }) => file)),
      stringColumn("row", rows.map(({ given }) => JSON.stringify(given.row))),
      fixedColumn("values_form", "UInt8", Uint8Array.from(forms)),
      lists("vals", "Float64", rows.map(({ given }, i) => (forms[i] === 2 ? given.values : [])), Float64Array),
    ];
  }

  #windows(name: string): NativeColumn {
    return fixedColumn(name, "UInt32", Uint32Array.from(this.#rows, (_, i) => this.#first + i));
  }

  #features(): NativeColumn {
    return fixedColumn("feature_index", "UInt32", Uint32Array.from(this.#rows, ({ given }) => given.feature));
  }
}

/** A column of lists. */
export function lists<T extends keyof FixedTypes>(name: string, type: T, rows: readonly (readonly number[])[], memory: { from(values: readonly number[]): FixedTypes[T] }): NativeColumn {
  let end = 0;
  return arrayColumn(name, type, Uint32Array.from(rows, (row) => (end += row.length)), memory.from(rows.flat()));
}

/** The same numbers as bfloat16. */
function halves(name: string, rows: readonly (readonly number[])[]): NativeColumn {
  let end = 0;
  const values = Float32Array.from(rows.flat());
  return arrayColumn(name, "BFloat16", Uint32Array.from(rows, (row) => (end += row.length)), bf16FromF32(values, new Uint16Array(values.length)));
}

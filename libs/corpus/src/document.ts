/** Where a corpus is read from; the same fields as the contract's CorpusSource. */
export interface CorpusSource {
  /** A file, folder or glob of jsonl, txt, md (each also .zst or .gz) or parquet, or several joined by newlines. */
  readonly uri: string;
  /** Field that holds the text in jsonl and parquet; a dot descends into objects. */
  readonly textField?: string | undefined;
  /** Field that names a document's source. Unset: `source` where there is one, else The Pile's `meta.pile_set_name`, else the file's name. */
  readonly sourceField?: string | undefined;
  /** Read at most this many documents; 0 reads all. */
  readonly maxDocuments?: number | undefined;
  /** Fields of a jsonl or parquet record that are kept with its document; a dot descends into objects, "*" keeps all but the text. */
  readonly metadataFields?: readonly string[] | undefined;
}

export const defaultCorpusFields = { textField: "text", sourceFields: ["source", "meta.pile_set_name"] } as const;

/** One text of a corpus. */
export interface Document {
  /** 0-based ordinal in the corpus' order; texts that are empty are not documents and take no ordinal. */
  readonly docId: number;
  readonly text: string;
  readonly source: string;
  /** Path it was read from. */
  readonly file: string;
  /** 1-based line where it starts; in parquet the 1-based row. */
  readonly line: number;
  /** The fields that are kept of its record, as a JSON object; "" where none are asked for, and in plain text. */
  readonly metadata: string;
}

/** What a reader finds in one record before it is counted. */
export interface RawDocument {
  readonly text: string;
  /** Undefined where the record names no source. */
  readonly source: string | undefined;
  readonly line: number;
  readonly metadata: string;
}

/** Which fields a reader of records takes. */
export interface RecordFields {
  readonly textField: string;
  /** The first that a record has names its source. */
  readonly sourceFields: readonly string[];
  /** Whether a record without a source field is an error: true when somebody asked for that field. */
  readonly sourceRequired: boolean;
  readonly metadataFields: readonly string[];
}

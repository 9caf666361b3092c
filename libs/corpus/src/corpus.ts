import { basename } from "node:path";
import { defaultCorpusFields, type CorpusSource, type Document, type RawDocument, type RecordFields } from "./document.ts";
import { formatOf } from "./file-format.ts";
import { listCorpusFiles } from "./list-files.ts";
import { readBytes } from "./read-bytes.ts";
import { readJsonl } from "./read-jsonl.ts";
import { readParquet } from "./read-parquet.ts";
import { readText } from "./read-text.ts";

/** What has been read so far. */
export interface CorpusStats {
  readonly documents: number;
  /** Records whose text is the empty string: no documents, no ordinals. */
  readonly emptyTexts: number;
  /** Files read to their end. */
  readonly files: number;
}

/** A corpus whose files are known. Reading it twice gives the same documents with the same ordinals. */
export class Corpus {
  /** Absolute paths in the order they are read. */
  readonly files: readonly string[];
  readonly source: CorpusSource;
  #stats: CorpusStats = { documents: 0, emptyTexts: 0, files: 0 };

  constructor(source: CorpusSource, files: readonly string[]) {
    this.source = source;
    this.files = files;
  }

  /** Counts of the latest reading. */
  get stats(): CorpusStats {
    return this.#stats;
  }

  /**
   * Streams the documents in order, holding one document (in parquet one row group) at a time.
   * @throws InputError naming file and line for the first record that cannot be read; nothing is skipped.
   */
  async *documents(signal?: AbortSignal): AsyncIterable<Document> {
    const limit = this.source.maxDocuments === undefined || this.source.maxDocuments === 0 ? Infinity : this.source.maxDocuments;
    let documents = 0;
    let emptyTexts = 0;
    let files = 0;
    this.#stats = { documents, emptyTexts, files };
    for (const file of this.files) {
      for await (const { text, source, line, metadata } of rawDocuments(file, fieldsOf(this.source))) {
        signal?.throwIfAborted();
        if (documents >= limit) return;
        if (text === "") emptyTexts += 1;
        else yield { docId: documents++, text, source: source ?? basename(file), file, line, metadata };
        this.#stats = { documents, emptyTexts, files };
      }
      files += 1;
      this.#stats = { documents, emptyTexts, files };
    }
  }
}

/** Finds a corpus' files. @throws InputError when there is nothing to read. */
export async function openCorpus(source: CorpusSource): Promise<Corpus> {
  return new Corpus(source, await listCorpusFiles(source.uri));
}

/** Streams the documents of a corpus; {@link openCorpus} also tells its files and counts. */
export async function* readCorpus(source: CorpusSource, signal?: AbortSignal): AsyncIterable<Document> {
  yield* (await openCorpus(source)).documents(signal);
}

export function fieldsOf(source: CorpusSource): RecordFields {
  return {
    textField: source.textField ?? defaultCorpusFields.textField,
    sourceFields: source.sourceField === undefined ? defaultCorpusFields.sourceFields : [source.sourceField],
    sourceRequired: source.sourceField !== undefined,
    metadataFields: source.metadataFields ?? [],
  };
}

function rawDocuments(file: string, fields: RecordFields): AsyncIterable<RawDocument> {
  const format = formatOf(file);
  if (format?.layout === "parquet") return readParquet(file, fields);
  const chunks = readBytes(file, format?.packing ?? "none");
  return format?.layout === "jsonl" ? readJsonl(chunks, file, fields) : readText(chunks, file);
}

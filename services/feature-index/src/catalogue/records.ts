/** A corpus as the catalogue keeps it. */
export interface CorpusRecord {
  /** Number in the tables. */
  readonly corpusId: number;
  /** corpora/{id}. */
  readonly id: string;
  readonly requestId: string;
  /** What it was made from, for telling a repeated request from another one. */
  readonly request: string;
  /** CorpusSource as JSON. */
  readonly source: string;
  /** models/{model} whose tokenizer cuts it. */
  readonly model: string;
  readonly contextSize: number;
  readonly ready: boolean;
  /** Chunks stored so far; the counts below are theirs. */
  readonly chunks: number;
  readonly nDocuments: number;
  readonly nSequences: number;
  readonly nTokens: number;
  readonly nSpecialTokens: number;
  /** Digests of the model whose tokenizer cuts it and of its list of files; empty before the first chunk. */
  readonly storedFrom: string;
  /** Texts of its tokens; 0 before they are stored. */
  readonly vocabularyId: number;
  /** SHA-256 over the token ids in order; empty until ready. */
  readonly digest: string;
  readonly createdMs: number;
  /** Made from the sequences of codes that were made elsewhere; it has no files. */
  readonly ingested: boolean;
}

/** An SAE with certain weights. */
export interface SaeRecord {
  readonly saeId: number;
  /** models/{model}/saes/{sae}. */
  readonly name: string;
  readonly digest: string;
  readonly dSae: number;
  readonly hookName: string;
}

/** The program whose files an index was read from; "" for our own. */
export type ImportSource = "" | "neuronpedia" | "saedashboard" | "delphi";

export type IndexStateName = "building" | "ready" | "failed";

/** One SAE over one corpus. */
export interface IndexRecord {
  /** Number in the tables. */
  readonly indexId: number;
  /** indexes/{id}. */
  readonly id: string;
  /** The operation that builds it. */
  readonly operation: string;
  readonly sae: SaeRecord;
  readonly corpus: CorpusRecord;
  /** 0 is all. */
  readonly maxTokens: number;
  readonly includeSpecialTokens: boolean;
  readonly importedFrom: ImportSource;
  /** Features of a token to be expected of codes made elsewhere; 0 for an index that takes none. */
  readonly ingestL0: number;
  readonly state: IndexStateName;
  readonly nSequences: number;
  readonly nTokens: number;
  readonly nSpecialTokens: number;
  readonly nActivations: number;
  readonly nFeaturesAlive: number;
  readonly createdMs: number;
}

/** Progress of storing a corpus. */
export type CorpusProgress = Pick<CorpusRecord, "chunks" | "nDocuments" | "nSequences" | "nTokens" | "nSpecialTokens">;

/** What an index is found to hold. */
export type IndexCounts = Pick<IndexRecord, "nSequences" | "nTokens" | "nSpecialTokens" | "nActivations" | "nFeaturesAlive">;

/** A query that somebody saved. */
export interface SavedQueryRecord {
  /** savedQueries/{id}. */
  readonly id: string;
  readonly sql: string;
  readonly description: string;
}

/** The tokens of a model. */
export interface VocabularyRecord {
  readonly vocabularyId: number;
  /** 0 until their texts are stored. */
  readonly size: number;
  /** Ids of special tokens, ascending; undefined until they are known. */
  readonly specialIds: readonly number[] | undefined;
}

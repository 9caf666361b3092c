import type { ClickHouse } from "@mistral-sae/clickhouse";
import type { JobEngine } from "@mistral-sae/jobs";
import type { Catalogue } from "./catalogue/catalogue.ts";
import type { CorpusStore } from "./corpus/store-corpus.ts";
import type { Vocabularies } from "./corpus/vocabulary.ts";
import type { Ingest } from "./ingest/ingest.ts";
import type { Peers } from "./peers/peers.ts";
import type { UserQueries } from "./query/run-query.ts";
import type { SavedQueries } from "./query/saved-queries.ts";
import type { BackupFiles } from "./storage/backup-files.ts";
import type { StorageFacts } from "./storage/usage.ts";
import type { Densities } from "./serving/densities.ts";
import type { FeaturePages } from "./serving/feature-pages.ts";
import type { Meaning } from "./vectors/meaning.ts";

/** What the handlers work with. */
export interface Parts {
  readonly clickhouse: ClickHouse;
  readonly catalogue: Catalogue;
  readonly engine: JobEngine;
  readonly ingest: Ingest;
  readonly peers: Peers;
  readonly corpora: CorpusStore;
  readonly vocabularies: Vocabularies;
  readonly pages: FeaturePages;
  readonly meaning: Meaning;
  readonly densities: Densities;
  readonly queries: UserQueries;
  readonly savedQueries: SavedQueries;
  /** Folder of exports that name none. */
  readonly exports: string;
  readonly storage: StorageFacts;
  readonly backups: BackupFiles;
}

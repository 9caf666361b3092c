import type { Command } from "commander";
import { group } from "../command.ts";
import { registerCompareVerbs } from "./index-compare.ts";
import { registerCorpusVerbs } from "./index-corpus.ts";
import { registerFeatureVerbs } from "./index-feature.ts";
import { registerBuildVerbs } from "./index-build.ts";
import { registerExportVerb } from "./index-export.ts";
import { registerImportVerb } from "./index-import.ts";
import { registerQueryVerbs } from "./index-queries.ts";
import { registerIngestVerbs } from "./index-ingest.ts";
import { registerSearchVerbs } from "./index-search.ts";
import { registerSqlVerb } from "./index-sql.ts";
import { registerStorageVerbs } from "./index-storage.ts";

/** `index …`: corpora, indexes, feature pages, search and SQL. */
export function registerIndexCommands(program: Command): void {
  const index = group(program, "index", "The feature index: every activation of a corpus, a query away.");
  registerCorpusVerbs(index);
  registerBuildVerbs(index);
  registerIngestVerbs(index);
  registerFeatureVerbs(index);
  registerSearchVerbs(index);
  registerCompareVerbs(index);
  registerSqlVerb(index);
  registerQueryVerbs(index);
  registerExportVerb(index);
  registerImportVerb(index);
  registerStorageVerbs(index);
}
